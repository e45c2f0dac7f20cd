;; Five memories of one page. A host with places for many calls has four memories for each; who takes more takes another call's.
(core module $one (memory 1))
(core instance (instantiate $one))
(core instance (instantiate $one))
(core instance (instantiate $one))
(core instance (instantiate $one))
