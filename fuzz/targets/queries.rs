#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nap_fuzz_checks::run("queries", data));
