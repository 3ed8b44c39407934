#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| samara_disk::fuzz::journal(data));
