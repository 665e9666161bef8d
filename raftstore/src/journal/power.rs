//! A directory in memory that loses power: what was not synced is there after the cut, or not, sector by sector.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::files::{File, Files};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Default)]
struct Content {
    certain: Vec<u8>,
    /// Its length once the space is reserved: a file is made first, and empty.
    length: usize,
    /// Where and what, in the order of the writes.
    uncertain: Vec<(usize, Vec<u8>)>,
}

impl Content {
    fn present(&self) -> Vec<u8> {
        let mut bytes = self.certain.clone();
        bytes.resize(self.length, 0);
        for (offset, written) in &self.uncertain {
            bytes[*offset..offset + written.len()].copy_from_slice(written);
        }
        bytes
    }
}

pub struct MemoryFile(Mutex<Content>);

#[derive(Clone)]
enum Naming {
    Create(String, Arc<MemoryFile>),
    Rename(String, String),
    Remove(String),
}

type Names = BTreeMap<String, Arc<MemoryFile>>;

#[derive(Default)]
struct State {
    certain: Names,
    uncertain: Vec<Naming>,
    /// Writes and names until the power fails; none left means that it has.
    budget: Option<usize>,
    salts: u32,
}

impl State {
    fn present(&self) -> Names {
        let mut names = self.certain.clone();
        self.uncertain.iter().for_each(|naming| apply(&mut names, naming));
        names
    }

    fn spend(&mut self) -> io::Result<()> {
        match &mut self.budget {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

fn apply(names: &mut Names, naming: &Naming) {
    match naming {
        Naming::Create(name, file) => drop(names.insert(name.clone(), file.clone())),
        Naming::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Naming::Remove(name) => drop(names.remove(name)),
    }
}

/// The directory; clones are the same one.
#[derive(Clone, Default)]
pub struct PowerDirectory(Arc<Mutex<State>>);

impl PowerDirectory {
    /// The power fails after so many more writes, syncs and changes of names.
    pub fn fail_after(&self, steps: usize) {
        self.0.lock().budget = Some(steps);
    }

    /// A failure that was to come does not.
    pub fn steady(&self) {
        let budget = &mut self.0.lock().budget;
        budget.take_if(|left| *left > 0);
    }

    pub fn is_off(&self) -> bool {
        self.0.lock().budget == Some(0)
    }

    /// Power comes back. Names are changed up to some moment, as a file system's journal keeps their order.
    pub fn cut(&self, random: &mut StdRng) {
        let mut state = self.0.lock();
        let kept = random.random_range(0..=state.uncertain.len());
        let namings: Vec<Naming> = state.uncertain.drain(..).take(kept).collect();
        namings.iter().for_each(|naming| apply(&mut state.certain, naming));
        state.budget = None;
        for file in state.certain.values() {
            let mut content = file.0.lock();
            let written = std::mem::take(&mut content.uncertain);
            if content.length > content.certain.len() && random.random_bool(0.5) {
                // Not even the space has come to the disk.
                content.length = content.certain.len();
                continue;
            }
            let length = content.length;
            content.certain.resize(length, 0);
            for (offset, written) in written {
                let mut at = 0;
                while at < written.len() {
                    let end = written.len().min(at + SECTOR - (offset + at) % SECTOR);
                    if random.random_bool(0.5) {
                        content.certain[offset + at..offset + end].copy_from_slice(&written[at..end]);
                    }
                    at = end;
                }
            }
        }
    }

    /// The process was killed: the kernel still has all that was written, and in time the disk has.
    pub fn killed(&self) {
        let mut state = self.0.lock();
        state.certain = state.present();
        state.uncertain.clear();
        state.budget = None;
        for file in state.certain.values() {
            let mut content = file.0.lock();
            content.certain = content.present();
            content.uncertain.clear();
        }
    }

    /// Flips a bit in the middle of what a file holds: damage, not a tear.
    pub fn damage(&self, name: &str, offset: usize) {
        let state = self.0.lock();
        state.present()[name].0.lock().certain[offset] ^= 1;
    }
}

struct Handle {
    directory: PowerDirectory,
    file: Arc<MemoryFile>,
}

impl File for Handle {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.0.lock().length as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let present = self.file.0.lock().present();
        buffer.copy_from_slice(&present[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let spent = self.directory.0.lock().spend();
        // The write at which the power fails is under way.
        self.file.0.lock().uncertain.push((offset as usize, bytes.to_vec()));
        spent
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.0.lock().spend()?;
        let mut content = self.file.0.lock();
        content.certain = content.present();
        content.uncertain.clear();
        Ok(())
    }
}

impl Files for PowerDirectory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().present().into_keys().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let found = self.0.lock().present().get(name).cloned();
        let file = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Handle { directory: self.clone(), file }))
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn File>> {
        let file = Arc::new(MemoryFile(Mutex::default()));
        let mut state = self.0.lock();
        state.spend()?;
        state.uncertain.push(Naming::Create(name.to_owned(), file.clone()));
        state.spend()?;
        file.0.lock().length = length as usize;
        Ok(Arc::new(Handle { directory: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.spend()?;
        state.uncertain.push(Naming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.spend()?;
        state.uncertain.push(Naming::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.spend()?;
        state.certain = state.present();
        state.uncertain.clear();
        Ok(())
    }

    /// No chance of its own: a run must be repeatable.
    fn salt(&self) -> u32 {
        let mut state = self.0.lock();
        state.salts += 1;
        state.salts.wrapping_mul(0x9e37_79b9)
    }
}

pub fn seeded(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}
