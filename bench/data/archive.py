"""The archive of Papamakarios et al. (2017): where it is, and which of its files are data sets."""

URL = "https://zenodo.org/records/1161203/files/data.tar.gz"
MD5 = "9b9c9b0375315ad270eba4ce80c093ab"

#: The files of the archive that are data sets, below `TOP`.
FILES = frozenset(
    {
        "power/data.npy",
        "gas/ethylene_CO.pickle",
        "hepmass/1000_train.csv",
        "hepmass/1000_test.csv",
        "miniboone/data.npy",
        "BSDS300/BSDS300.hdf5",
    }
)
#: The git blob ids of files of the archive, where known: SHA-1 of a header and the bytes.
BLOBS = {"miniboone/data.npy": "9737c80fa84df483ed368404e3110c324613d54c"}
