//! A backup as a file: nothing of it is used before its checksum was found right.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use bytes::Bytes;
use keelson_wire::raft as wire;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::backup::MAGIC;
use crate::mvcc::Key;
use crate::raft::SNAPSHOT_FORMAT;

const SUM: u64 = 32;
const HEAD: u64 = 12;
/// No record is larger: the largest request, and its encoding.
const MAX_RECORD: u64 = 16 << 20;

pub struct Backup {
    reader: std::io::Take<BufReader<File>>,
    name: String,
    pub sum: [u8; 32],
    pub bytes: u64,
}

impl Backup {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let refuse = |what: &str| Error::Options(format!("{name} {what}"));
        let failed = |error: std::io::Error| Error::Options(format!("cannot read {name}: {error}"));
        let bytes = std::fs::metadata(path).map_err(failed)?.len();
        let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
        let mut head = [0; HEAD as usize];
        if bytes < HEAD + SUM || reader.read_exact(&mut head).is_err() || !head.starts_with(MAGIC) {
            return Err(refuse("is no backup of raftstore: make one with `keelson store snapshot save`"));
        }
        let format = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        if format != SNAPSHOT_FORMAT {
            return Err(refuse(&format!("is a backup of format {format}: use the version that made it")));
        }
        let mut hash = Sha256::new();
        hash.update(head);
        let mut left = bytes - HEAD - SUM;
        let mut block = vec![0; 1 << 20];
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            reader.read_exact(&mut block[..length]).map_err(failed)?;
            hash.update(&block[..length]);
            left -= length as u64;
        }
        let mut sum = [0; SUM as usize];
        reader.read_exact(&mut sum).map_err(failed)?;
        if sum != <[u8; 32]>::from(hash.finalize()) {
            return Err(refuse("is damaged or was cut short: its checksum does not fit. Use another backup"));
        }
        let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
        reader.read_exact(&mut head).map_err(failed)?;
        Ok(Self { reader: reader.take(bytes - HEAD - SUM), name, sum, bytes })
    }

    /// The next record, in the order of the picture.
    pub fn next(&mut self) -> Result<Option<(Vec<u8>, Bytes)>, Error> {
        if self.reader.limit() == 0 {
            return Ok(None);
        }
        let malformed = |name: &str| Error::Options(format!("{name} holds a record that cannot be read"));
        let (mut length, mut shift) = (0_u64, 0);
        loop {
            let mut byte = [0];
            self.reader.read_exact(&mut byte).map_err(|_| malformed(&self.name))?;
            length |= u64::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
            if shift > 28 {
                return Err(malformed(&self.name));
            }
        }
        if length == 0 {
            // No record is empty: what follows fills the last block.
            return Ok(None);
        }
        if length > MAX_RECORD {
            return Err(malformed(&self.name));
        }
        let mut bytes = vec![0; length as usize];
        self.reader.read_exact(&mut bytes).map_err(|_| malformed(&self.name))?;
        let record = wire::Record::decode(Bytes::from(bytes)).map_err(|_| malformed(&self.name))?;
        if Key::decode(&record.key).is_none() {
            return Err(malformed(&self.name));
        }
        Ok(Some((record.key.to_vec(), record.value)))
    }
}
