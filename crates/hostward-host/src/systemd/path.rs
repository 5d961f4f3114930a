//! Unit names in object paths: every byte but an ASCII letter or digit is `_xx`; a leading digit is escaped too
//! (`bus_label_escape`, systemd's bus-label.c).

use hostward_core::id::UnitName;

pub(super) const UNITS: &str = "/org/freedesktop/systemd1/unit";

/// The unit that an object path means. None: it is no unit's path.
pub(super) fn unit_of(path: &str) -> Option<UnitName> {
    let label = path.strip_prefix(UNITS)?.strip_prefix('/')?.as_bytes();
    let mut name = Vec::with_capacity(label.len());
    let mut at = 0;
    while let Some(byte) = label.get(at) {
        at += match byte {
            b'_' => {
                let hex = std::str::from_utf8(label.get(at + 1..at + 3)?).ok()?;
                name.push(u8::from_str_radix(hex, 16).ok()?);
                3
            }
            b if b.is_ascii_alphanumeric() => {
                name.push(*b);
                1
            }
            _ => return None,
        };
    }
    let name = String::from_utf8(name).ok()?;
    (!name.is_empty()).then(|| UnitName::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_units() {
        let table = [
            ("/org/freedesktop/systemd1/unit/cron_2eservice", Some("cron.service")),
            ("/org/freedesktop/systemd1/unit/example_2dapi_2eservice", Some("example-api.service")),
            ("/org/freedesktop/systemd1/unit/getty_40tty1_2eservice", Some("getty@tty1.service")),
            ("/org/freedesktop/systemd1/unit/_39p_2eservice", Some("9p.service")),
            ("/org/freedesktop/systemd1/unit/a_5fb_2eservice", Some("a_b.service")),
            ("/org/freedesktop/systemd1/unit/srv_2dx_5cx2dy_2emount", Some(r"srv-x\x2dy.mount")),
            ("/org/freedesktop/systemd1/unit/_2d_2emount", Some("-.mount")),
            ("/org/freedesktop/systemd1/unit/caf_c3_a9_2eservice", Some("café.service")),
            ("/org/freedesktop/systemd1/unit/A_2EB", Some("A.B")),
            ("/org/freedesktop/systemd1/unit/_", None),
            ("/org/freedesktop/systemd1/unit/a_2", None),
            ("/org/freedesktop/systemd1/unit/a_zz", None),
            ("/org/freedesktop/systemd1/unit/a_ff", None),
            ("/org/freedesktop/systemd1/unit/a/b", None),
            ("/org/freedesktop/systemd1/unit/", None),
            ("/org/freedesktop/systemd1/unit", None),
            ("/org/freedesktop/systemd1/units/a", None),
            ("/org/freedesktop/systemd1/job/12", None),
        ];
        for (path, name) in table {
            assert_eq!(unit_of(path), name.map(UnitName::new), "{path}");
        }
    }
}
