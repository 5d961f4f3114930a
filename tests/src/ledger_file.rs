//! The ledger's file as another version leaves it: taken apart into frames, and put together again with checksums of our
//! own, so that the daemon under test has no part in making what it is to read.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::Sandbox;

/// The frames of one file, in order.
#[derive(Clone, Debug)]
pub struct LedgerFile {
    frames: Vec<Frame>,
}

#[derive(Clone, Debug)]
struct Frame {
    seq: u64,
    json: Value,
}

impl LedgerFile {
    pub const PATH: &str = "/var/lib/hostward/ledger";

    /// Every frame of the file, which must be whole. NULs of reserved space may follow the last.
    pub fn read(sandbox: &Sandbox) -> Result<Self> {
        let path: PathBuf = sandbox.root().join(Self::PATH.trim_start_matches('/'));
        let bytes = std::fs::read(&path).with_context(|| format!("read '{}'", path.display()))?;
        let text = std::str::from_utf8(&bytes).context("the ledger is not text")?.trim_end_matches('\0');
        ensure!(text.ends_with('\n'), "the ledger ends in the middle of a frame");
        Ok(Self { frames: text.lines().map(frame).collect::<Result<_>>()? })
    }

    pub fn write(&self, sandbox: &Sandbox) -> Result<()> {
        sandbox.write(Self::PATH, "0600", self.bytes())
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.frames.iter().flat_map(Frame::line).collect()
    }

    /// Format 1: no header, and attempts without the reason that they were made for.
    pub fn into_format_1(mut self) -> Result<Self> {
        ensure!(self.frames.len() > 1, "nothing is in it");
        let header = self.frames.remove(0);
        ensure!(
            header.seq == 0 && header.json["format"].is_u64(),
            "it does not begin with a first header: {header:?}"
        );
        for frame in &mut self.frames {
            for heal in
                frame.json.pointer_mut("/body/opened/plan/heals").and_then(Value::as_array_mut).into_iter().flatten()
            {
                heal.as_object_mut().context("a heal is an object")?.remove("reason");
            }
        }
        Ok(self)
    }

    /// Of the version after this one: a higher format, a field and a last record that nobody here has heard of.
    pub fn into_later(mut self) -> Result<Self> {
        let header = self.frames.first_mut().context("nothing is in it")?;
        let format = header.json["format"].as_u64().context("it does not begin with a header")?;
        header.json["format"] = json!(format + 1);
        header.json["by"] = json!("99.0.0");
        header.json["state"]["weather"] = json!("fair");
        self.with_unknown_record()
    }

    /// Its last record is of a kind that nobody here has heard of.
    pub fn with_unknown_record(mut self) -> Result<Self> {
        let last = self.frames.last().context("nothing is in it")?;
        let seq = last.seq + 1;
        let json = json!({ "seq": seq, "at": last.json["at"], "body": { "foreseen": { "run": seq } } });
        self.frames.push(Frame { seq, json });
        Ok(self)
    }
}

impl Frame {
    fn line(&self) -> Vec<u8> {
        let payload = self.json.to_string();
        format!("{} {:08x} {payload}\n", self.seq, crc(self.seq, payload.as_bytes())).into_bytes()
    }
}

fn frame(line: &str) -> Result<Frame> {
    let mut parts = line.splitn(3, ' ');
    let (Some(seq), Some(sum), Some(payload)) = (parts.next(), parts.next(), parts.next()) else {
        bail!("no frame: {line}");
    };
    let seq = seq.parse().with_context(|| format!("no frame: {line}"))?;
    ensure!(sum == format!("{:08x}", crc(seq, payload.as_bytes())), "its checksum does not match: {line}");
    Ok(Frame { seq, json: serde_json::from_str(payload).with_context(|| format!("no JSON: {line}"))? })
}

fn crc(seq: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seq.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}
