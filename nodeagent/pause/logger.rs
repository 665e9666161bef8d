//! Writes a container's output to its log file, in the CRI format: `<RFC 3339 time> stdout|stderr F|P <text>`.
//!
//! One runs beside each container, started by containerd's shim (`binary://`) or, where the container has a stdin, by
//! the agent. It depends on neither after that: logging goes on while the agent is dead or replaced.
//!
//! Descriptors: 3 is stdout, 4 is stderr, 5 is closed when it is ready. Arguments are pairs: `path FILE`,
//! `bytes N` and `files N` (rotate at N bytes, keep N files: FILE, FILE.1, …), `partial 1` (a terminal: write what
//! there is without waiting for the end of the line).
//!
//! It ends when both outputs have ended, or on SIGTERM after taking what is in the pipes. A full disk loses lines and
//! never stops the container.

#![no_std]
#![no_main]

mod sys;

use core::ffi::CStr;

const STDOUT: i32 = 3;
const STDERR: i32 = 4;
const READY: i32 = 5;
/// A longer line is written in parts, each tagged P but the last, as other runtimes do.
const LINE_LIMIT: usize = 16 * 1024;
const PATH_LIMIT: usize = 4096;
/// `2006-01-02T15:04:05.000000000Z stdout F `
const PREFIX: usize = 40;

struct Stream {
    descriptor: i32,
    tag: &'static [u8],
    /// The begun line follows `PREFIX` bytes of room.
    buffer: [u8; PREFIX + LINE_LIMIT + 1],
    length: usize,
    open: bool,
}

struct Log {
    path: [u8; PATH_LIMIT],
    path_length: usize,
    descriptor: i32,
    size: u64,
    max_bytes: u64,
    max_files: u64,
}

static mut STREAMS: [Stream; 2] = [
    Stream { descriptor: STDOUT, tag: b"stdout", buffer: [0; PREFIX + LINE_LIMIT + 1], length: 0, open: true },
    Stream { descriptor: STDERR, tag: b"stderr", buffer: [0; PREFIX + LINE_LIMIT + 1], length: 0, open: true },
];
static mut LOG: Log =
    Log { path: [0; PATH_LIMIT], path_length: 0, descriptor: -1, size: 0, max_bytes: 0, max_files: 1 };
static mut CHUNK: [u8; 8 * 1024] = [0; 8 * 1024];

fn run(arguments: sys::Arguments) -> i32 {
    sys::block(&[sys::SIGTERM]);
    // SAFETY: one thread, and each static is borrowed here and nowhere else.
    let (streams, log, chunk) = unsafe { (&mut *&raw mut STREAMS, &mut *&raw mut LOG, &mut *&raw mut CHUNK) };
    let mut partial = false;
    let mut index = 1;
    while let (Some(key), Some(value)) = (arguments.get(index), arguments.get(index + 1)) {
        match key.to_bytes() {
            b"path" => log.set_path(value.to_bytes()),
            b"bytes" => log.max_bytes = number(value.to_bytes()),
            b"files" => log.max_files = number(value.to_bytes()),
            b"partial" => partial = value.to_bytes() == b"1",
            _ => {}
        }
        index += 2;
    }
    if log.path_length == 0 || !log.open() {
        return 1;
    }
    let terminate = sys::signal_descriptor(&[sys::SIGTERM]) as i32;
    for stream in streams.iter() {
        sys::set_nonblocking(stream.descriptor);
    }
    sys::close(READY);

    let mut told_to_end = false;
    while !told_to_end && streams.iter().any(|stream| stream.open) {
        let wanted = |stream: &Stream| if stream.open { stream.descriptor } else { -1 };
        let mut polls = [
            sys::Poll { descriptor: wanted(&streams[0]), events: sys::READABLE, returned: 0 },
            sys::Poll { descriptor: wanted(&streams[1]), events: sys::READABLE, returned: 0 },
            sys::Poll { descriptor: terminate, events: sys::READABLE, returned: 0 },
        ];
        if sys::poll(&mut polls) < 0 {
            continue;
        }
        told_to_end = polls[2].returned != 0;
        for (stream, poll) in streams.iter_mut().zip(&polls) {
            if stream.open && (poll.returned != 0 || told_to_end) {
                stream.drain(log, chunk, partial, told_to_end);
            }
        }
    }
    for stream in streams.iter_mut() {
        // A line that was never ended: who reads it ends it neither.
        if stream.length > 0 {
            stream.emit(log, b'P');
        }
    }
    0
}

impl Stream {
    /// Reads once, or all there is.
    fn drain(&mut self, log: &mut Log, chunk: &mut [u8], partial: bool, all: bool) {
        loop {
            let count = sys::read(self.descriptor, chunk);
            match count {
                sys::EINTR => continue,
                sys::EAGAIN => return,
                count if count <= 0 => {
                    self.open = false;
                    return;
                }
                _ => {}
            }
            self.take(log, &chunk[..count as usize]);
            if partial && self.length > 0 {
                self.emit(log, b'P');
            }
            if !all {
                return;
            }
        }
    }

    fn take(&mut self, log: &mut Log, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = LINE_LIMIT - self.length;
            let window = &bytes[..bytes.len().min(room)];
            let end = window.iter().position(|byte| *byte == b'\n');
            let count = end.unwrap_or(window.len());
            let start = PREFIX + self.length;
            self.buffer[start..start + count].copy_from_slice(&window[..count]);
            self.length += count;
            match end {
                Some(_) => {
                    self.emit(log, b'F');
                    bytes = &bytes[count + 1..];
                }
                None => {
                    bytes = &bytes[count..];
                    if self.length == LINE_LIMIT {
                        self.emit(log, b'P');
                    }
                }
            }
        }
    }

    fn emit(&mut self, log: &mut Log, kind: u8) {
        let (seconds, nanoseconds) = sys::now();
        let prefix = &mut self.buffer[..PREFIX];
        write_time(prefix, seconds, nanoseconds);
        prefix[30] = b' ';
        prefix[31..37].copy_from_slice(self.tag);
        prefix[37] = b' ';
        prefix[38] = kind;
        prefix[39] = b' ';
        let end = PREFIX + self.length;
        self.buffer[end] = b'\n';
        log.write(&self.buffer[..=end]);
        self.length = 0;
    }
}

impl Log {
    fn set_path(&mut self, path: &[u8]) {
        // Room for `.` and the number of a rotated file, and the null.
        if path.len() + 22 < PATH_LIMIT {
            self.path[..path.len()].copy_from_slice(path);
            self.path_length = path.len();
        }
    }

    fn open(&mut self) -> bool {
        let Ok(path) = CStr::from_bytes_until_nul(&self.path) else { return false };
        let descriptor = sys::open_to_append(path);
        if descriptor < 0 {
            return false;
        }
        self.descriptor = descriptor as i32;
        self.size = sys::size_of_file(self.descriptor);
        true
    }

    fn write(&mut self, mut line: &[u8]) {
        if self.max_bytes > 0 && self.size > 0 && self.size + line.len() as u64 > self.max_bytes {
            self.rotate();
        }
        while !line.is_empty() {
            match sys::write(self.descriptor, line) {
                sys::EINTR => {}
                count if count <= 0 => return,
                count => {
                    self.size += count as u64;
                    line = &line[count as usize..];
                }
            }
        }
    }

    /// FILE.(n-2) becomes FILE.(n-1), …, FILE becomes FILE.1. Where nothing can be renamed, writing goes on.
    fn rotate(&mut self) {
        let mut to = [0; PATH_LIMIT];
        let mut from = [0; PATH_LIMIT];
        let mut number = self.max_files.max(2) - 1;
        while number >= 1 {
            self.numbered(&mut to, number);
            self.numbered(&mut from, number - 1);
            if let (Ok(from), Ok(to)) = (CStr::from_bytes_until_nul(&from), CStr::from_bytes_until_nul(&to)) {
                let outcome = sys::rename(from, to);
                if outcome < 0 && outcome != sys::ENOENT {
                    return;
                }
            }
            number -= 1;
        }
        let before = self.descriptor;
        if self.open() {
            sys::close(before);
        }
    }

    fn numbered(&self, buffer: &mut [u8; PATH_LIMIT], number: u64) {
        buffer[..self.path_length].copy_from_slice(&self.path[..self.path_length]);
        let mut end = self.path_length;
        if number > 0 {
            buffer[end] = b'.';
            let digits = digits_of(number);
            write_number(&mut buffer[end + 1..], number, digits);
            end += 1 + digits;
        }
        buffer[end] = 0;
    }
}

fn number(text: &[u8]) -> u64 {
    text.iter().fold(0, |number: u64, digit| {
        if digit.is_ascii_digit() { number.saturating_mul(10).saturating_add(u64::from(digit - b'0')) } else { number }
    })
}

fn digits_of(mut number: u64) -> usize {
    let mut digits = 1;
    while number >= 10 {
        number /= 10;
        digits += 1;
    }
    digits
}

fn write_number(buffer: &mut [u8], mut number: u64, width: usize) {
    for place in buffer[..width].iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// `2006-01-02T15:04:05.000000000Z`: 30 bytes, in UTC.
fn write_time(buffer: &mut [u8], seconds: u64, nanoseconds: u32) {
    // Days to a date in the Gregorian calendar: eras of 400 years that begin on 1 March.
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let second_of_day = seconds % 86_400;

    buffer[..30].copy_from_slice(b"0000-00-00T00:00:00.000000000Z");
    write_number(buffer, year, 4);
    write_number(&mut buffer[5..], month, 2);
    write_number(&mut buffer[8..], day, 2);
    write_number(&mut buffer[11..], second_of_day / 3_600, 2);
    write_number(&mut buffer[14..], second_of_day / 60 % 60, 2);
    write_number(&mut buffer[17..], second_of_day % 60, 2);
    write_number(&mut buffer[20..], u64::from(nanoseconds), 9);
}
