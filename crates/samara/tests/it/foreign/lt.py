"""A libtorrent session with one torrent, TCP only, nothing but the tracker.

argv: torrent folder port mark; the file `mark` is made when everything is there.
"""
import sys
import time

import libtorrent as lt

torrent, folder, port, mark = sys.argv[1:5]
session = lt.session({
    "listen_interfaces": f"0.0.0.0:{port},[::]:{port}",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "in_enc_policy": int(lt.enc_policy.disabled), "out_enc_policy": int(lt.enc_policy.disabled),
    "allow_multiple_connections_per_ip": True,
    "announce_to_all_trackers": True,
    "alert_mask": int(lt.alert.category_t.storage_notification),
})
params = lt.load_torrent_file(torrent)
params.save_path = folder
params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
handle = session.add_torrent(params)
flushing = False
while True:
    if handle.status().is_seeding and not flushing:
        # A piece is had as soon as its hash is right; its blocks may still wait for the disk threads.
        handle.flush_cache()
        flushing = True
    if any(isinstance(alert, lt.cache_flushed_alert) for alert in session.pop_alerts()) and flushing:
        open(mark, "w").close()
    time.sleep(0.05)
