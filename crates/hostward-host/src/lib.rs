mod files;
pub mod gate;
mod mask;
pub mod python;
