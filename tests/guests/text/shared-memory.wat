;; A memory for several threads.
(core module (memory 1 1 shared))
