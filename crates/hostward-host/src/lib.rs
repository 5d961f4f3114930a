pub mod child;
mod files;
pub mod gate;
pub mod http;
mod mask;
pub mod python;
