//! Damage in SQLite's log, `spool.db-wal` (<https://sqlite.org/fileformat2.html#walformat>).
//!
//! SQLite reads its log up to the first frame whose checksum does not fit and drops the rest without a word, for that is how
//! a transaction looks that a loss of power cut short. So does a rotted sector, but there, transactions that were reported
//! as done lie behind it. What tells the two apart: a transaction is begun when the one before is on disk. A commit that
//! another frame builds on was done.
//!
//! Here the log is only read. [`Cut::lay_over`] puts what it holds into a copy of the database to be salvaged from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use nix::errno::Errno;

use super::SpoolError;
use super::place::with_suffix;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Its lowest bit says in which order the checksums take the bytes of a word.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
/// No page of a table and no content begins like this, so SQLite says that it is damaged when it comes by.
const BLANK: u8 = 0xff;

/// A log that SQLite would not read to its end.
#[derive(Debug)]
pub(super) struct Cut {
    page_bytes: usize,
    /// How many frames SQLite would read.
    read: usize,
    /// Every frame up to the last commit that counts.
    frames: Vec<Frame>,
    /// Whether it is known of every damaged frame which page it was, and that none is missing.
    certain: bool,
}

/// What is made of pages that are damaged and were not written again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Torn {
    /// They are made unreadable, so that nothing is believed that they say.
    Blank,
    /// They are taken as they are.
    AsTheyAre,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Its checksum fits.
    Whole,
    /// It does not, but which page it was is known.
    Torn,
    /// Not even that is known.
    Unknown,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    page: u32,
    trust: Trust,
    commits: bool,
    /// Whether it is of this log, not of what stood in the file before.
    ours: bool,
}

type Sum = (u32, u32);

/// Whether the words of a checksum are big-endian.
#[derive(Debug, Clone, Copy, Default)]
struct Words {
    big_endian: bool,
}

impl Words {
    fn pair(self, bytes: &[u8]) -> Sum {
        let word = |bytes: &[u8]| if self.big_endian { word(bytes) } else { word(bytes).swap_bytes() };
        (word(bytes), word(&bytes[4..]))
    }

    fn sum(self, before: Sum, bytes: &[u8]) -> Sum {
        bytes.chunks_exact(8).fold(before, |(one, two), pair| {
            let (x, y) = self.pair(pair);
            let one = one.wrapping_add(x).wrapping_add(two);
            (one, two.wrapping_add(y).wrapping_add(one))
        })
    }

    /// The first words of a frame, page and size, that would make its checksum fit if all else is as it was written.
    fn solve(self, before: Sum, page: &[u8], after: Sum) -> (u32, u32) {
        let (one, two) = page.rchunks_exact(8).fold(after, |(one, two), pair| {
            let (x, y) = self.pair(pair);
            let two = two.wrapping_sub(y).wrapping_sub(one);
            (one.wrapping_sub(x).wrapping_sub(two), two)
        });
        let solved = (one.wrapping_sub(before.0).wrapping_sub(before.1), two.wrapping_sub(before.1).wrapping_sub(one));
        if self.big_endian { solved } else { (solved.0.swap_bytes(), solved.1.swap_bytes()) }
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn two_words(bytes: &[u8]) -> Sum {
    (word(bytes), word(&bytes[4..]))
}

/// Looks through the log of `database`. Not while somebody has it open.
pub(super) fn look(database: &Path) -> Result<Option<Cut>, SpoolError> {
    let path = with_suffix(database, "-wal");
    let looked = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result.and_then(|mut log| scan(&mut log)),
    };
    looked.map_err(|source| SpoolError::Files { path, source })
}

/// Whether the card did not give back what is there; any other error says nothing about it.
pub(super) fn is_unreadable(error: &io::Error) -> bool {
    let codes = [Errno::EIO, Errno::EBADMSG, Errno::EUCLEAN].map(|code| code as i32);
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Reads all of `buffer` at `offset`: yes, or no because the file ends before; none if the card does not give it back.
fn read_at(log: &mut (impl Read + Seek), offset: u64, buffer: &mut [u8]) -> io::Result<Option<bool>> {
    log.seek(SeekFrom::Start(offset))?;
    match log.read_exact(buffer) {
        Ok(()) => Ok(Some(true)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Some(false)),
        Err(error) if is_unreadable(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a log frame by frame; gives what SQLite would not read of it, if that is more than a loss of power leaves. What is
/// no log, or has a header that does not check, is SQLite's to judge.
fn scan(log: &mut (impl Read + Seek)) -> io::Result<Option<Cut>> {
    let length = log.seek(SeekFrom::End(0))?;
    let mut header = [0; HEADER];
    match read_at(log, 0, &mut header)? {
        Some(true) => {}
        Some(false) => return Ok(None),
        // SQLite would not open the database at all: then it is taken as it is without its log.
        None => return Ok(Some(Cut { page_bytes: HEADER, read: 0, frames: Vec::new(), certain: false })),
    }
    let (magic, page_bytes) = (word(&header), word(&header[8..]) as usize);
    let words = Words { big_endian: magic & 1 == 1 };
    let sum = two_words(&header[24..]);
    let known = magic & !1 == MAGIC && word(&header[4..]) == VERSION;
    let sized = page_bytes.is_power_of_two() && (512..=65_536).contains(&page_bytes);
    if !known || !sized || words.sum((0, 0), &header[..24]) != sum {
        return Ok(None);
    }
    let mut scan = Scan { words, salts: two_words(&header[16..]), before: vec![sum], reading: true, ..Scan::default() };
    let mut frame = vec![0; FRAME_HEADER + page_bytes];
    for offset in (HEADER as u64..length).step_by(frame.len()) {
        match read_at(log, offset, &mut frame)? {
            Some(true) => scan.meet(&frame),
            Some(false) => break,
            None => scan.meet_unreadable(),
        }
    }
    Ok(scan.finish(page_bytes))
}

#[derive(Default)]
struct Scan {
    words: Words,
    salts: Sum,
    frames: Vec<Frame>,
    /// The checksums that the next frame may build on: as the last one states it, and as its content has it.
    before: Vec<Sum>,
    /// How many frames SQLite reads.
    read: usize,
    reading: bool,
    /// Whether that ended at a frame that the card does not give back.
    stopped: bool,
    unreadable: bool,
    /// The last page that anything whole speaks of.
    last_page: u32,
    /// By damaged frame: page and size that would make its checksum fit.
    solved: BTreeMap<usize, (u32, u32)>,
}

impl Scan {
    fn meet(&mut self, frame: &[u8]) {
        let (header, page) = frame.split_at(FRAME_HEADER);
        let ((number, size), stated) = (two_words(header), two_words(&header[16..]));
        let salted = two_words(&header[8..]) == self.salts;
        let sums: Vec<_> =
            self.before.iter().map(|before| self.words.sum(self.words.sum(*before, &header[..8]), page)).collect();
        let fits = sums.iter().position(|sum| *sum == stated);
        self.reading &= salted && fits == Some(0) && number != 0;
        self.read += usize::from(self.reading);
        let trust = match fits {
            Some(0) => Trust::Whole,
            Some(_) => {
                // It builds on the content of the one before, of which only the checksum was damaged.
                if let Some(before) = self.frames.last_mut() {
                    before.trust = Trust::Whole;
                }
                self.solved.remove(&(self.frames.len().saturating_sub(1)));
                Trust::Whole
            }
            None if !salted || self.before.is_empty() => Trust::Unknown,
            None => {
                let solved = self.words.solve(self.before[0], page, stated);
                self.solved.insert(self.frames.len(), solved);
                Trust::Torn
            }
        };
        // What stood in the file before builds on itself, too: only what follows a frame of this log may be judged so.
        let ours = salted || fits.is_some();
        let whole_before = self.frames.last().is_none_or(|before| before.trust == Trust::Whole);
        let by_content = sums.first().copied().filter(|_| fits.is_none() && whole_before);
        self.before = if ours { std::iter::once(stated).chain(by_content).collect() } else { Vec::new() };
        if trust == Trust::Whole {
            self.last_page = self.last_page.max(number).max(size);
        }
        self.frames.push(Frame { page: number, trust, commits: size != 0, ours });
    }

    fn meet_unreadable(&mut self) {
        self.stopped |= self.reading;
        self.reading = false;
        self.unreadable = true;
        self.before.clear();
        self.frames.push(Frame { page: 0, trust: Trust::Unknown, commits: false, ours: false });
    }

    fn finish(mut self, page_bytes: usize) -> Option<Cut> {
        let possible = |page: u32| (1..=self.last_page).contains(&page);
        for (index, frame) in self.frames.iter_mut().enumerate().filter(|(_, frame)| frame.trust == Trust::Torn) {
            // If its page number may be what is damaged, the page may be any.
            let otherwise =
                self.solved.get(&index).is_none_or(|(page, size)| possible(*page) && *size <= self.last_page);
            if otherwise || !possible(frame.page) {
                frame.trust = Trust::Unknown;
            }
        }
        let (mut end, mut done_behind, mut sound) = (0, false, true);
        for (index, frame) in self.frames.iter().enumerate() {
            sound &= frame.trust == Trust::Whole;
            if frame.ours && frame.commits {
                let done = self.frames.get(index + 1).is_some_and(|next| next.trust == Trust::Whole);
                done_behind |= done && index >= self.read;
                if done || sound {
                    end = index + 1;
                }
                sound = true;
            }
        }
        if !done_behind && !self.stopped {
            return None;
        }
        let behind = self.frames.split_off(end);
        let known = self.frames.iter().all(|frame| frame.trust != Trust::Unknown);
        let certain = known && !self.unreadable && !behind.iter().any(|frame| frame.ours);
        Some(Cut { page_bytes, read: self.read, frames: self.frames, certain })
    }
}

impl Cut {
    /// Whether a database that the log was laid over is what it was, but for pages that are blank.
    pub(super) fn is_certain(&self) -> bool {
        self.certain
    }

    /// Puts the pages that the log of `database` holds into `copy`, each as it was written last.
    pub(super) fn lay_over(&self, database: &Path, copy: &Path, torn: Torn) -> Result<(), SpoolError> {
        let log = with_suffix(database, "-wal");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::Files { path, source }
        };
        let mut from = File::open(&log).map_err(at(&log))?;
        let mut to = File::options().write(true).open(copy).map_err(at(copy))?;
        self.put(&mut from, &mut to, torn).map_err(at(copy))
    }

    fn put(&self, log: &mut (impl Read + Seek), to: &mut (impl Write + Seek), torn: Torn) -> io::Result<()> {
        let last_page = self.frames.iter().filter(|frame| frame.trust != Trust::Unknown).map(|frame| frame.page).max();
        let mut page = vec![0; self.page_bytes];
        for (index, frame) in self.frames.iter().enumerate() {
            if frame.page == 0 || Some(frame.page) > last_page || (frame.trust, torn) == (Trust::Unknown, Torn::Blank) {
                continue;
            }
            let offset = HEADER + index * (FRAME_HEADER + self.page_bytes) + FRAME_HEADER;
            let blank = (frame.trust, torn) == (Trust::Torn, Torn::Blank);
            if blank || read_at(log, offset as u64, &mut page)? != Some(true) {
                page.fill(BLANK);
            }
            to.seek(SeekFrom::Start(u64::from(frame.page - 1) * self.page_bytes as u64))?;
            to.write_all(&page)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "its log is damaged from frame {} on", self.read + 1)
    }
}

/// Copies a database without its log; what the card does not give back is blank.
pub(super) fn copy(database: &Path, to: &Path) -> Result<(), SpoolError> {
    let copied = || -> io::Result<()> {
        let (mut from, mut to) = (File::open(database)?, File::create(to)?);
        let length = from.seek(SeekFrom::End(0))?;
        let mut block = [0; 4096];
        for offset in (0..length).step_by(block.len()) {
            let part = usize::try_from(length - offset).unwrap_or(usize::MAX).min(block.len());
            if read_at(&mut from, offset, &mut block[..part])? != Some(true) {
                block.fill(BLANK);
            }
            to.write_all(&block[..part])?;
        }
        Ok(())
    };
    copied().map_err(|source| SpoolError::Files { path: to.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 512;

    /// A log with one transaction for each list of pages; every page is filled with the number of its frame.
    fn log(transactions: &[&[u32]]) -> Vec<u8> {
        let words = Words { big_endian: true };
        let mut log: Vec<u8> =
            [MAGIC | 1, VERSION, PAGE as u32, 0, 7, 9].iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut sum = words.sum((0, 0), &log);
        log.extend([sum.0, sum.1].iter().flat_map(|word| word.to_be_bytes()));
        let mut frame = 0_u8;
        for pages in transactions {
            for (index, page) in pages.iter().enumerate() {
                frame += 1;
                let size = if index + 1 == pages.len() { 9 } else { 0 };
                let header: Vec<u8> = [*page, size].iter().flat_map(|word| word.to_be_bytes()).collect();
                sum = words.sum(words.sum(sum, &header), &[frame; PAGE]);
                log.extend(header);
                log.extend([7, 9, sum.0, sum.1].iter().flat_map(|word: &u32| word.to_be_bytes()));
                log.extend([frame; PAGE]);
            }
        }
        log
    }

    fn at(frame: usize) -> usize {
        HEADER + frame * (FRAME_HEADER + PAGE)
    }

    /// A card that gives no block of `bad` back.
    struct Card {
        content: io::Cursor<Vec<u8>>,
        bad: std::ops::Range<u64>,
        errno: Errno,
    }

    impl Read for Card {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let from = self.content.position();
            if from < self.bad.end && from + buffer.len() as u64 > self.bad.start {
                return Err(io::Error::from_raw_os_error(self.errno as i32));
            }
            self.content.read(buffer)
        }
    }

    impl Seek for Card {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.content.seek(to)
        }
    }

    fn laid(cut: &Cut, log: &[u8], torn: Torn) -> Vec<u8> {
        let mut copy = io::Cursor::new(vec![0; 4 * PAGE]);
        cut.put(&mut io::Cursor::new(log), &mut copy, torn).unwrap();
        copy.into_inner().chunks(PAGE).map(|page| page[0]).collect()
    }

    #[test]
    fn a_whole_log_and_a_damaged_last_transaction_are_left_to_sqlite() {
        let whole = log(&[&[1, 2], &[2], &[3, 4]]);
        assert!(scan(&mut io::Cursor::new(&whole)).unwrap().is_none());
        for frame in [3, 4] {
            let mut bytes = whole.clone();
            bytes[at(frame) + 100] ^= 1;
            assert!(scan(&mut io::Cursor::new(&bytes)).unwrap().is_none(), "frame {frame}");
        }
        for length in 0..whole.len() {
            assert!(scan(&mut io::Cursor::new(&whole[..length])).unwrap().is_none(), "{length} bytes");
        }
    }

    #[test]
    fn a_damaged_page_is_blank_or_as_it_is_unless_it_was_written_later() {
        let mut bytes = log(&[&[1, 2], &[2], &[3, 4]]);
        bytes[at(1) + 200] ^= 1;
        let cut = scan(&mut io::Cursor::new(&bytes)).unwrap().unwrap();
        assert!(cut.is_certain() && cut.read == 1);
        assert_eq!(laid(&cut, &bytes, Torn::Blank), [1, 3, 4, 5]);
        let mut bytes = log(&[&[1, 2], &[3], &[3, 4]]);
        bytes[at(1) + 200] ^= 1;
        let cut = scan(&mut io::Cursor::new(&bytes)).unwrap().unwrap();
        assert!(cut.is_certain());
        assert_eq!(laid(&cut, &bytes, Torn::Blank), [1, BLANK, 4, 5]);
        assert_eq!(laid(&cut, &bytes, Torn::AsTheyAre), [1, 2, 4, 5]);
    }

    #[test]
    fn a_frame_whose_page_number_may_be_damaged_leaves_nothing_certain() {
        for byte in [3, 7, 11] {
            let mut bytes = log(&[&[1, 2], &[2], &[3, 4]]);
            bytes[at(1) + byte] ^= 1;
            let cut = scan(&mut io::Cursor::new(&bytes)).unwrap().unwrap();
            // The salts are in no checksum: a frame that fits is of this log.
            assert_eq!(cut.is_certain(), byte == 11, "byte {byte}");
            assert_eq!(laid(&cut, &bytes, Torn::Blank), [1, 3, 4, 5], "byte {byte}");
        }
        // Only the checksum itself: the next frame builds on what it should be.
        let mut bytes = log(&[&[1, 2], &[3], &[3, 4]]);
        bytes[at(1) + 20] ^= 1;
        let cut = scan(&mut io::Cursor::new(&bytes)).unwrap().unwrap();
        assert!(cut.is_certain());
        assert_eq!(laid(&cut, &bytes, Torn::Blank), [1, 2, 4, 5]);
    }

    #[test]
    fn what_two_failed_transactions_left_one_behind_the_other_was_never_done() {
        // Both began where the one that is there did: the longer one first, then the shorter.
        let (long, short) = (log(&[&[1], &[2, 3, 4, 2, 3, 4]]), log(&[&[1], &[3, 4, 2]]));
        let mut bytes = log(&[&[1], &[4]]);
        bytes.extend(&short[bytes.len()..]);
        bytes.extend(&long[bytes.len()..]);
        assert!(scan(&mut io::Cursor::new(&bytes)).unwrap().is_none());
    }

    #[test]
    fn a_block_that_the_card_does_not_give_back_takes_its_frame_and_no_other() {
        let bytes = log(&[&[1, 2], &[2], &[3, 4]]);
        let card = |bad, errno| Card { content: io::Cursor::new(bytes.clone()), bad, errno };
        for frame in 0..4 {
            let bad = at(frame) as u64 + 30..at(frame) as u64 + 40;
            let cut = scan(&mut card(bad, Errno::EIO)).unwrap().unwrap();
            assert!(!cut.is_certain() && cut.read == frame);
        }
        let cut = scan(&mut card(0..HEADER as u64, Errno::EIO)).unwrap().unwrap();
        assert!(!cut.is_certain() && cut.frames.is_empty());
        assert!(scan(&mut card(50..60, Errno::ENOMEM)).is_err(), "which says nothing about the content");
    }
}
