;; A memory of more than 4 GiB, which the host could not tell from an address outside as cheaply.
(core module (memory i64 1))
