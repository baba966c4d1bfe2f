//! Names of custom settings, wherever in a text they stand: in SQL, in strings, in what a string builds.

/// PostgreSQL would take longer ones; nobody writes them.
const NAME_MAX_BYTES: usize = 255;

fn begins(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn goes_on(byte: u8) -> bool {
    begins(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// Calls `on` for every dotted name in ASCII that could be a custom setting's: `app.user`, and of `a.b.c` the whole.
/// `positions` are the places of the dots in `text`, rising.
pub fn dotted_names<'a>(text: &'a [u8], positions: impl Iterator<Item = usize>, mut on: impl FnMut(&'a str)) {
    let mut read_to = 0;
    for dot in positions {
        if dot < read_to {
            continue;
        }
        let (Some(before), Some(after)) = (text.get(read_to..dot), text.get(dot + 1..)) else { return };
        let start = dot - before.iter().rev().take_while(|byte| goes_on(**byte)).count();
        let mut end = dot;
        let mut rest = after;
        loop {
            let part = rest.iter().take_while(|byte| goes_on(**byte)).count();
            if part == 0 || !rest.first().is_some_and(|byte| begins(*byte)) {
                break;
            }
            end += 1 + part;
            match rest.get(part..) {
                Some([b'.', more @ ..]) => rest = more,
                _ => break,
            }
        }
        read_to = end.max(dot + 1);
        // The first part begins as a name does: `1a.b` holds none, nor does `$1.x`.
        let name = text.get(start..end).filter(|name| name.first().is_some_and(|byte| begins(*byte)) && end > dot);
        if let Some(name) = name.filter(|name| name.len() <= NAME_MAX_BYTES).and_then(|name| str::from_utf8(name).ok())
        {
            on(name);
        }
    }
}
