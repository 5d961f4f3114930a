//! One pass over a Python environment, many times: what `cargo xtask bench baseline` measures. A question as JSON comes
//! in on standard input, the nanoseconds of each pass go out as a JSON array; the first argument is how many.

use std::time::Instant;

use hostward_core::ask::{Answer, Question};

/// The first passes fill the page cache and the allocator.
const WARM_UP: usize = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let passes: usize = std::env::args().nth(1).ok_or("say how many passes")?.parse()?;
    let Question::Python(question) = serde_json::from_reader(std::io::stdin())? else {
        return Err("not a question about a Python environment".into());
    };
    let read = || -> Answer { hostward_host::python::read(&question) };
    for _ in 0..WARM_UP {
        read()?;
    }
    let mut nanos = Vec::with_capacity(passes);
    for _ in 0..passes {
        let started = Instant::now();
        std::hint::black_box(read()?);
        nanos.push(u64::try_from(started.elapsed().as_nanos())?);
    }
    println!("{}", serde_json::to_string(&nanos)?);
    Ok(())
}
