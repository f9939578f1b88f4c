//! The `pinecone` program.
fn main() {}
