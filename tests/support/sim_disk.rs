//! A disk that forgets: what was not synced when the power goes may be there, or not, or in part.
//!
//! Every call is counted, and at one chosen call the power can go or an error can come. What a
//! real system may do with unsynced data is drawn from a seed, so each run repeats exactly:
//! sectors are kept or lost one by one, writes are torn at any octet, new lengths are lost, names
//! come and go independently. A failed sync behaves as Linux does: the pages count as clean, so a
//! later sync reports success and yet nothing more is written.

#![allow(dead_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use pillarbox::spool::{Disk, Folder, Kind, Name, Target, Ticket};

const SECTOR: usize = 512;

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: this call does nothing and none after it does.
    Cut,
    /// This one call fails.
    Once(io::ErrorKind),
    /// This call and all later ones that write or sync fail.
    From(io::ErrorKind),
}

/// What becomes of unsynced data when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost.
    All,
    /// Nothing is lost, as when only the process dies.
    Nothing,
    /// Each sector, length and name is lost or kept by chance.
    Some(u64),
    /// Each write is cut off at some octet, by chance.
    Torn(u64),
}

/// A small generator (xorshift64*), so that seeds mean the same everywhere.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn yes(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What programs see.
    seen: Vec<u8>,
    /// What is on the medium.
    kept: Vec<u8>,
    /// What was changed since the last sync, in order.
    changes: Vec<Change>,
}

impl Inode {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(at, octets) => {
                let end = at + octets.len();
                if self.kept.len() < end {
                    self.kept.resize(end, 0);
                }
                self.kept[*at..end].copy_from_slice(octets);
            }
            Change::Length(n) => self.kept.resize(*n, 0),
        }
    }

    fn sync(&mut self, covered: usize) {
        for change in self.changes.drain(..covered).collect::<Vec<_>>() {
            self.apply(&change);
        }
    }

    fn cut(&mut self, loss: Loss, chance: &mut Chance) {
        let changes = std::mem::take(&mut self.changes);
        for change in changes {
            match (loss, change) {
                (Loss::All, _) => {}
                (Loss::Nothing, change) => self.apply(&change),
                (Loss::Some(_) | Loss::Torn(_), Change::Length(n)) => {
                    if chance.yes() {
                        self.apply(&Change::Length(n));
                    }
                }
                (Loss::Torn(_), Change::Write(at, octets)) => {
                    let n = chance.below(octets.len() + 1);
                    self.apply(&Change::Write(at, octets[..n].to_vec()));
                }
                (Loss::Some(_), Change::Write(at, octets)) => {
                    let mut from = 0;
                    while from < octets.len() {
                        let to = (((at + from) / SECTOR + 1) * SECTOR - at).min(octets.len());
                        if chance.yes() {
                            self.apply(&Change::Write(at + from, octets[from..to].to_vec()));
                        }
                        from = to;
                    }
                }
            }
        }
        self.seen = self.kept.clone();
    }
}

type Names = BTreeMap<String, usize>;

#[derive(Clone, Debug, Default)]
struct Directory {
    seen: Names,
    kept: Names,
    /// Names given (to an inode) and taken since the last sync, in order.
    changes: Vec<(String, Option<usize>)>,
}

impl Directory {
    fn change(&mut self, name: &str, inode: Option<usize>) {
        apply_name(&mut self.seen, name, inode);
        self.changes.push((name.to_owned(), inode));
    }

    fn settle(&mut self, keep: impl FnMut() -> bool) {
        let mut keep = keep;
        for (name, inode) in std::mem::take(&mut self.changes) {
            if keep() {
                apply_name(&mut self.kept, &name, inode);
            }
        }
    }
}

fn apply_name(names: &mut Names, name: &str, inode: Option<usize>) {
    match inode {
        Some(inode) => names.insert(name.to_owned(), inode),
        None => names.remove(name),
    };
}

/// The machine: it outlives the processes that use it.
#[derive(Clone, Debug)]
pub struct World {
    inodes: Vec<Inode>,
    folders: [Directory; 4],
    chance: Chance,
    fault: Option<(u64, Fault)>,
    /// Calls so far.
    pub calls: u64,
    /// Syncs are answered only when asked for the answer, not at once.
    pub late_syncs: bool,
    /// The power is gone.
    pub is_cut: bool,
    /// The chosen error came.
    pub has_failed: bool,
    locked: bool,
}

impl World {
    pub fn new(seed: u64) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            inodes: Vec::new(),
            folders: Default::default(),
            chance: Chance::new(seed),
            fault: None,
            calls: 0,
            late_syncs: false,
            is_cut: false,
            has_failed: false,
            locked: false,
        }))
    }

    /// From now on counts calls from 0 and has `fault` come at call `at`.
    pub fn arm(&mut self, fault: Option<(u64, Fault)>) {
        (self.calls, self.fault, self.is_cut, self.has_failed) = (0, fault, false, false);
    }

    /// The power goes and comes back.
    pub fn reboot(&mut self, loss: Loss) {
        let mut chance = match loss {
            Loss::Some(seed) | Loss::Torn(seed) => Chance::new(seed),
            Loss::All | Loss::Nothing => Chance::new(0),
        };
        for inode in &mut self.inodes {
            inode.cut(loss, &mut chance);
        }
        for folder in &mut self.folders {
            folder.settle(|| match loss {
                Loss::All => false,
                Loss::Nothing => true,
                Loss::Some(_) | Loss::Torn(_) => chance.yes(),
            });
            folder.seen = folder.kept.clone();
        }
        self.locked = false;
        self.arm(None);
    }

    /// Names in a folder.
    pub fn names(&self, folder: Folder) -> Vec<String> {
        self.folders[folder as usize].seen.keys().cloned().collect()
    }

    /// A file's octets, to look at and to damage.
    pub fn octets(&mut self, folder: Folder, name: &str) -> &mut Vec<u8> {
        let inode = self.folders[folder as usize].seen[name];
        let inode = &mut self.inodes[inode];
        assert!(inode.changes.is_empty(), "damage comes after a reboot");
        &mut inode.seen
    }

    /// Puts a file there, as another program would.
    pub fn put(&mut self, folder: Folder, name: &str, octets: &[u8]) {
        self.inodes.push(Inode { seen: octets.to_vec(), kept: octets.to_vec(), changes: Vec::new() });
        let inode = self.inodes.len() - 1;
        let folder = &mut self.folders[folder as usize];
        folder.seen.insert(name.to_owned(), inode);
        folder.kept.insert(name.to_owned(), inode);
    }

    fn call(&mut self, writes: bool) -> io::Result<()> {
        let n = self.calls;
        self.calls += 1;
        if self.is_cut {
            return Err(io::Error::other("the power is gone"));
        }
        match self.fault {
            Some((at, Fault::Cut)) if n == at => {
                self.is_cut = true;
                Err(io::Error::other("the power goes"))
            }
            Some((at, Fault::Once(kind))) if n == at => {
                self.has_failed = true;
                Err(kind.into())
            }
            Some((at, Fault::From(kind))) if n >= at && writes => {
                self.has_failed = true;
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }
}

/// A process's view of the machine.
pub struct SimDisk {
    world: Rc<RefCell<World>>,
    asked: Vec<Asked>,
}

/// A sync under way: what it is for, and how many changes it covers.
struct Asked {
    ticket: Ticket,
    what: Sim,
    result: Option<io::Result<()>>,
}

enum Sim {
    File(usize, usize),
    Folder(Folder),
}

impl SimDisk {
    pub fn new(world: &Rc<RefCell<World>>) -> Self {
        Self { world: Rc::clone(world), asked: Vec::new() }
    }

    fn run(&mut self, what: &Sim) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let result = world.call(true);
        let power = !world.is_cut;
        match *what {
            Sim::File(inode, covered) => {
                let inode = &mut world.inodes[inode];
                let covered = covered.min(inode.changes.len());
                if result.is_ok() {
                    inode.sync(covered);
                } else if power {
                    // Nobody will write these any more, though all still see them.
                    inode.changes.clear();
                }
            }
            Sim::Folder(folder) => {
                if result.is_ok() {
                    world.folders[folder as usize].settle(|| true);
                }
            }
        }
        result
    }

    fn what(&self, target: &Target<'_, usize>) -> Sim {
        match *target {
            Target::File(&inode) => Sim::File(inode, self.world.borrow().inodes[inode].changes.len()),
            Target::Folder(folder) => Sim::Folder(folder),
        }
    }
}

impl Drop for SimDisk {
    fn drop(&mut self) {
        self.world.borrow_mut().locked = false;
    }
}

impl Disk for SimDisk {
    type File = usize;
    type Listing = Vec<String>;

    fn lock(&mut self) -> io::Result<bool> {
        let mut world = self.world.borrow_mut();
        world.call(false)?;
        Ok(!std::mem::replace(&mut world.locked, true))
    }

    fn open_folders(&mut self, _make: bool) -> io::Result<()> {
        self.world.borrow_mut().call(false)
    }

    fn create(&mut self, folder: Folder, name: &str) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        world.call(true)?;
        if world.folders[folder as usize].seen.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.inodes.push(Inode::default());
        let inode = world.inodes.len() - 1;
        world.folders[folder as usize].change(name, Some(inode));
        Ok(inode)
    }

    fn open(&mut self, folder: Folder, name: &str, _write: bool) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        world.call(false)?;
        world.folders[folder as usize].seen.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn link(&mut self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.call(true)?;
        let inode = world.folders[from.0 as usize].seen.get(from.1).copied();
        let inode = inode.ok_or(io::ErrorKind::NotFound)?;
        if world.folders[to.0 as usize].seen.contains_key(to.1) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.folders[to.0 as usize].change(to.1, Some(inode));
        Ok(())
    }

    fn unlink(&mut self, folder: Folder, name: &str) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.call(true)?;
        if !world.folders[folder as usize].seen.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.folders[folder as usize].change(name, None);
        Ok(())
    }

    fn list(&mut self, folder: Folder) -> io::Result<Vec<String>> {
        let mut world = self.world.borrow_mut();
        world.call(false)?;
        Ok(world.names(folder))
    }

    fn next_name(&mut self, listing: &mut Vec<String>) -> io::Result<Option<(Name, Kind)>> {
        self.world.borrow_mut().call(false)?;
        Ok(listing.pop().map(|name| (Name::try_from(name.as_str()).unwrap(), Kind::File)))
    }

    fn length(&mut self, file: &usize) -> io::Result<u64> {
        let mut world = self.world.borrow_mut();
        world.call(false)?;
        Ok(world.inodes[*file].seen.len() as u64)
    }

    fn read_at(&mut self, file: &usize, octets: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        world.call(false)?;
        let seen = &world.inodes[*file].seen;
        let from = (offset as usize).min(seen.len());
        let n = octets.len().min(seen.len() - from);
        octets[..n].copy_from_slice(&seen[from..from + n]);
        Ok(n)
    }

    fn write_at(&mut self, file: &usize, octets: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let was_cut = world.is_cut;
        let result = world.call(true);
        if was_cut {
            return result;
        }
        // A write that fails, or during which the power goes, may have got some way.
        let n = if result.is_ok() { octets.len() } else { world.chance.below(octets.len() + 1) };
        let inode = &mut world.inodes[*file];
        let (from, to) = (offset as usize, offset as usize + n);
        if inode.seen.len() < to {
            inode.seen.resize(to, 0);
        }
        inode.seen[from..to].copy_from_slice(&octets[..n]);
        inode.changes.push(Change::Write(from, octets[..n].to_vec()));
        result
    }

    fn set_length(&mut self, file: &usize, octets: u64) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.call(true)?;
        let inode = &mut world.inodes[*file];
        inode.seen.resize(octets as usize, 0);
        inode.changes.push(Change::Length(octets as usize));
        Ok(())
    }

    fn start_writeback(&mut self, _file: &usize, _offset: u64, _octets: u64) {}

    fn sync(&mut self, target: Target<'_, usize>) -> io::Result<()> {
        let what = self.what(&target);
        self.run(&what)
    }

    fn start_sync(&mut self, ticket: Ticket, target: Target<'_, usize>) -> bool {
        if self.asked.len() >= 4 {
            return false;
        }
        let what = self.what(&target);
        let result = if self.world.borrow().late_syncs { None } else { Some(self.run(&what)) };
        self.asked.push(Asked { ticket, what, result });
        true
    }

    fn synced(&mut self) -> Option<(Ticket, io::Result<()>)> {
        if self.asked.is_empty() {
            return None;
        }
        let asked = self.asked.remove(0);
        let result = asked.result.unwrap_or_else(|| self.run(&asked.what));
        Some((asked.ticket, result))
    }

    fn free_octets(&mut self) -> io::Result<u64> {
        self.world.borrow_mut().call(false)?;
        Ok(1 << 30)
    }

    fn block_octets(&mut self) -> io::Result<u32> {
        self.world.borrow_mut().call(false)?;
        Ok(4096)
    }

    fn random(&mut self, octets: &mut [u8]) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.call(false)?;
        octets.fill_with(|| world.chance.next() as u8);
        Ok(())
    }
}
