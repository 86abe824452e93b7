"""SSD, the asynchronous speculator: while the target verifies one draft, a worker already drafts for whatever may come of it.

(Speculative speculative decoding: Kumar, Dao and May, arXiv 2603.03251.)
"""
