#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pinecone_fuzz::link::encrypted_link(bytes));
