"""A directory that keeps answers; only `writer` imports diskcache."""
