;; Wants something of the host.
(import "acme:files/files" (instance))
