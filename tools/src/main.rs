//! The `pinecone` program.
mod transfer;
fn main() {}
