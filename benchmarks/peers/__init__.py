"""Adapters: other libraries' guards, driven by our conformance kits and timed by our benchmarks."""
