;; A feature that this host does not have.
(core module (tag))
