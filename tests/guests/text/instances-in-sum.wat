;; Three instances, each with 500 pages (31 MiB) and so by itself within the 64 MiB that a turn may have.
(core module $hoarder (memory 500))
(core instance (instantiate $hoarder))
(core instance (instantiate $hoarder))
(core instance (instantiate $hoarder))
