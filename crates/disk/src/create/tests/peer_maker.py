"""Makes torrents of a path as libtorrent does, and reads ours.

Usage: peer_maker.py make PATH PIECE_SIZE v1|v2|hybrid OUT
       peer_maker.py read TORRENT
"""
import sys
import warnings

warnings.simplefilter("ignore")
import libtorrent as lt

if sys.argv[1] == "make":
    path, piece_size, version, out = sys.argv[2:]
    flags = {"v1": 64, "v2": lt.create_torrent.v2_only, "hybrid": 0}[version]
    files = lt.list_files(path)
    if version == "v1":
        # libtorrent takes v1 files in any order: ours, by path, component by component.
        files.sort(key=lambda file: file.filename.encode().split(b"/"))
    torrent = lt.create_torrent(files, int(piece_size), flags=flags)
    torrent.set_creation_date(0)
    lt.set_piece_hashes(torrent, path.rsplit("/", 1)[0])
    open(out, "wb").write(lt.bencode(torrent.generate()))
else:
    info = lt.torrent_info(sys.argv[2])
    hashes = info.info_hashes()
    print("v1", hashes.v1 if hashes.has_v1() else "-")
    print("v2", hashes.v2 if hashes.has_v2() else "-")
    print("name", info.name())
    files = info.files()
    for i in range(files.num_files()):
        if not files.file_flags(i) & files.flag_pad_file:
            print("file", files.file_offset(i), files.file_size(i), files.file_path(i))
