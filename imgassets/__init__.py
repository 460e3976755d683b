"""From raw image and CT archives to training-ready files: what a training script imports."""

from imgassets.compat import (
    ConverterFixedSize,
    ConverterFlexibleSize,
    CustomDistributedSampler,
    DenseIpcConverter,
    DenseMemmapConverter,
    HDF5Converter,
    Hdf5Converter,
    IpcConverter,
    MemmapConverter,
    ParquetConverter,
    ResizeAndConvert,
    TarConverter,
    distributedConverter,
    get_number_of_channels,
    image_to_binary,
)
from imgassets.compat_readers import (
    DenseIpcReader,
    DenseMemmapReader,
    HDF5Reader,
    Hdf5Reader,
    IpcReader,
    MemmapReader,
    ParquetReader,
    TarReader,
    worker_init_fn,
)
from imgassets.conversion import convert
from imgassets.items import collate
from imgassets.store import Store, open_store

__all__ = [
    "ConverterFixedSize",
    "ConverterFlexibleSize",
    "CustomDistributedSampler",
    "DenseIpcConverter",
    "DenseIpcReader",
    "DenseMemmapConverter",
    "DenseMemmapReader",
    "HDF5Converter",
    "HDF5Reader",
    "Hdf5Converter",
    "Hdf5Reader",
    "IpcConverter",
    "IpcReader",
    "MemmapConverter",
    "MemmapReader",
    "ParquetConverter",
    "ParquetReader",
    "ResizeAndConvert",
    "Store",
    "TarConverter",
    "TarReader",
    "collate",
    "convert",
    "distributedConverter",
    "get_number_of_channels",
    "image_to_binary",
    "open_store",
    "worker_init_fn",
]
