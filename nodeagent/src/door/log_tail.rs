//! Where in a file its last lines begin.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

const BLOCK: u64 = 8192;

/// The offset at which the last `lines` lines begin; 0 when there are no more than that. Blocks.
pub fn offset_of_last(file: &mut File, lines: u64) -> io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let mut position = end;
    let mut found = 0;
    let mut block = vec![0; BLOCK as usize];
    while position > 0 {
        let length = position.min(BLOCK);
        position -= length;
        file.seek(SeekFrom::Start(position))?;
        let block = &mut block[..length as usize];
        file.read_exact(block)?;
        for (index, byte) in block.iter().enumerate().rev() {
            let offset = position + index as u64;
            // The newline that ends the file ends its last line, it does not begin another.
            if *byte == b'\n' && offset + 1 != end {
                found += 1;
                if found == lines {
                    return Ok(offset + 1);
                }
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_last_lines_are_found_over_blocks() {
        let mut file = tempfile::tempfile().expect("a file");
        let line = "x".repeat(999);
        for _ in 0..50 {
            writeln!(file, "{line}").expect("written");
        }
        for (lines, want) in [(0, 50_000), (1, 49_000), (20, 30_000), (50, 0), (99, 0)] {
            assert_eq!(offset_of_last(&mut file, lines).expect("read"), want, "{lines} lines");
        }
        file.seek(SeekFrom::End(0)).expect("the end");
        write!(file, "unfinished").expect("written");
        assert_eq!(offset_of_last(&mut file, 1).expect("read"), 50_000);
        let mut empty = tempfile::tempfile().expect("a file");
        assert_eq!(offset_of_last(&mut empty, 5).expect("read"), 0);
    }
}
