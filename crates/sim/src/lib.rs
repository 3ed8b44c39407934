pub mod net;
pub mod world;
