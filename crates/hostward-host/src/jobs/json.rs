//! A provider's output: `{"jobs": [...]}`, or the list alone.
//!
//! Each entry is read when it comes and nothing else is kept, so that neither a million entries nor deep nesting costs
//! memory or stack. What is no whole JSON is a fault: "no jobs" is only what says so. The form is docs/schema/jobs.schema.json.

use std::collections::BTreeMap;
use std::fmt;

use hostward_core::ask::{Fault, JobState};
use hostward_core::id::Str;
use hostward_core::time::Ms;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::entries::{Book, Listed};
use crate::mask;

const TEXT_CHARS: usize = 200;

pub(super) fn read(output: &[u8], words: &BTreeMap<Str, JobState>, now: Ms) -> Result<Listed, Fault> {
    let fault = |why: String| Fault::Unreadable(mask::text(&format!("the list of jobs: {why}"), TEXT_CHARS));
    let text = str::from_utf8(output).map_err(|e| fault(e.to_string()))?;
    let mut book = Book::new(words, now);
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Top(&mut book).deserialize(&mut reader).and_then(|()| reader.end());
    read.map_err(|e| fault(e.to_string()))?;
    Ok(book.close())
}

/// An object with the list, or the list.
struct Top<'b, 'w>(&'b mut Book<'w>);

/// The list alone.
struct List<'b, 'w>(&'b mut Book<'w>);

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, or an object with a list as `jobs`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        List(self.0).visit_seq(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut lists = 0;
        while let Some(name) = members.next_key::<String>()? {
            if name == "jobs" {
                lists += 1;
                members.next_value_seed(List(self.0))?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        match lists {
            1 => Ok(()),
            0 => Err(A::Error::custom("there is no `jobs`")),
            _ => Err(A::Error::custom("`jobs` is there twice")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of jobs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<&RawValue>()? {
            self.0.enter_json(item.get());
        }
        Ok(())
    }
}
