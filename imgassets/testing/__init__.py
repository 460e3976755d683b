"""Contracts for what other packages add: a test of theirs subclasses one, and pytest runs it.

`codec.CodecContract` is for a codec of image stores, `source.SourceContract` for samples in order,
`io_manager.IOManagerContract` for a format of artifacts; `making` has sources and stores to try things on. They need
pytest and hypothesis: `pip install 'imgassets[testing]'`. For asserts that tell what they saw, a `conftest.py` says
`pytest.register_assert_rewrite("imgassets.testing")`.
"""
