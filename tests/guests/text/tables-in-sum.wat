;; Two tables of 6,000 elements.
(core module $table (table 6000 funcref))
(core instance (instantiate $table))
(core instance (instantiate $table))
