//! What peers and trackers say to each other (BEP 3, 7, 23, 48).
