//! The kernel, without a C library: what the two helpers need of it and nothing more.
//!
//! They run once for every pod and once for every container, so their size is what a pod costs: a page or two.

// Each helper uses its own part.
#![allow(dead_code)]

use core::arch::{asm, global_asm};
use core::ffi::CStr;

pub const SIGINT: u32 = 2;
pub const SIGTERM: u32 = 15;
pub const SIGCHLD: u32 = 17;
pub const ENOENT: isize = -2;
pub const EINTR: isize = -4;
pub const EAGAIN: isize = -11;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const FSTAT: usize = 5;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const WAIT4: usize = 61;
    pub const FCNTL: usize = 72;
    pub const EXIT_GROUP: usize = 231;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const CLOCK_GETTIME: usize = 228;
    pub const OPENAT: usize = 257;
    pub const RENAMEAT: usize = 264;
    pub const PPOLL: usize = 271;
    pub const SIGNALFD4: usize = 289;
    /// Of st_size in struct stat.
    pub const STAT_SIZE_OFFSET: usize = 48;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const FSTAT: usize = 80;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const WAIT4: usize = 260;
    pub const FCNTL: usize = 25;
    pub const EXIT_GROUP: usize = 94;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const CLOCK_GETTIME: usize = 113;
    pub const OPENAT: usize = 56;
    pub const RENAMEAT: usize = 38;
    pub const PPOLL: usize = 73;
    pub const SIGNALFD4: usize = 74;
    pub const STAT_SIZE_OFFSET: usize = 48;
}

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor %ebp, %ebp", "mov %rsp, %rdi", "and $-16, %rsp", "call {entry}", "ud2", entry = sym entry, options(att_syntax));

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x0, sp", "bl {entry}", "brk #1", entry = sym entry);

/// The stack as the kernel leaves it: argc, then the arguments, then a null.
unsafe extern "C" fn entry(stack: *const usize) -> ! {
    // SAFETY: `stack` is the process's initial stack, laid out by the kernel as said above.
    let arguments = unsafe { Arguments { count: *stack, first: stack.add(1).cast() } };
    exit(crate::run(arguments))
}

pub struct Arguments {
    count: usize,
    first: *const *const core::ffi::c_char,
}

impl Arguments {
    pub fn get(&self, index: usize) -> Option<&'static CStr> {
        // SAFETY: the kernel keeps `count` strings, each ended by a null, for as long as the process lives.
        (index < self.count).then(|| unsafe { CStr::from_ptr(*self.first.add(index)) })
    }
}

#[cfg(target_arch = "x86_64")]
fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let outcome;
    // SAFETY: callers pass what the kernel's interface asks for; pointers are to live memory.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => outcome, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    outcome
}

#[cfg(target_arch = "aarch64")]
fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let outcome;
    // SAFETY: callers pass what the kernel's interface asks for; pointers are to live memory.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => outcome, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, options(nostack));
    }
    outcome
}

pub fn exit(code: i32) -> ! {
    loop {
        syscall(number::EXIT_GROUP, code as usize, 0, 0, 0, 0);
    }
}

const fn mask(signals: &[u32]) -> u64 {
    let mut mask = 0;
    let mut index = 0;
    while index < signals.len() {
        mask |= 1 << (signals[index] - 1);
        index += 1;
    }
    mask
}

/// Blocked signals wait for us, even where their default is to be ignored (as all are for process 1).
pub fn block(signals: &[u32]) {
    const SIG_BLOCK: usize = 0;
    let mask = mask(signals);
    syscall(number::RT_SIGPROCMASK, SIG_BLOCK, &raw const mask as usize, 0, 8, 0);
}

/// Sleeps until one of them comes.
pub fn wait_for_signal(signals: &[u32]) -> u32 {
    let mask = mask(signals);
    loop {
        let signal = syscall(number::RT_SIGTIMEDWAIT, &raw const mask as usize, 0, 0, 8, 0);
        if signal > 0 {
            return signal as u32;
        }
    }
}

/// Becomes readable when one of them comes.
pub fn signal_descriptor(signals: &[u32]) -> isize {
    let mask = mask(signals);
    syscall(number::SIGNALFD4, usize::MAX, &raw const mask as usize, 8, 0, 0)
}

/// One zombie less; false when there is none.
pub fn reap() -> bool {
    const WNOHANG: usize = 1;
    syscall(number::WAIT4, usize::MAX, 0, WNOHANG, 0, 0) > 0
}

pub fn read(descriptor: i32, buffer: &mut [u8]) -> isize {
    syscall(number::READ, descriptor as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0)
}

pub fn write(descriptor: i32, bytes: &[u8]) -> isize {
    syscall(number::WRITE, descriptor as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0)
}

pub fn close(descriptor: i32) {
    syscall(number::CLOSE, descriptor as usize, 0, 0, 0, 0);
}

pub fn open_to_append(path: &CStr) -> isize {
    const AT_FDCWD: usize = -100isize as usize;
    const O_WRONLY_CREAT_APPEND_CLOEXEC: usize = 0o1 | 0o100 | 0o2000 | 0o2000000;
    syscall(number::OPENAT, AT_FDCWD, path.as_ptr() as usize, O_WRONLY_CREAT_APPEND_CLOEXEC, 0o640, 0)
}

pub fn rename(from: &CStr, to: &CStr) -> isize {
    const AT_FDCWD: usize = -100isize as usize;
    syscall(number::RENAMEAT, AT_FDCWD, from.as_ptr() as usize, AT_FDCWD, to.as_ptr() as usize, 0)
}

pub fn size_of_file(descriptor: i32) -> u64 {
    let mut status = [0u64; 18];
    if syscall(number::FSTAT, descriptor as usize, status.as_mut_ptr() as usize, 0, 0, 0) < 0 {
        return 0;
    }
    status[number::STAT_SIZE_OFFSET / 8]
}

pub fn set_nonblocking(descriptor: i32) {
    const F_SETFL: usize = 4;
    const O_NONBLOCK: usize = 0o4000;
    syscall(number::FCNTL, descriptor as usize, F_SETFL, O_NONBLOCK, 0, 0);
}

#[repr(C)]
pub struct Poll {
    pub descriptor: i32,
    pub events: i16,
    pub returned: i16,
}

pub const READABLE: i16 = 1;

pub fn poll(polls: &mut [Poll]) -> isize {
    syscall(number::PPOLL, polls.as_mut_ptr() as usize, polls.len(), 0, 0, 8)
}

/// Seconds and nanoseconds since 1970.
pub fn now() -> (u64, u32) {
    let mut time = [0u64; 2];
    syscall(number::CLOCK_GETTIME, 0, time.as_mut_ptr() as usize, 0, 0, 0);
    (time[0], time[1] as u32)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}

/// The precompiled core names it in its unwind tables; nothing unwinds here.
#[unsafe(no_mangle)]
pub extern "C" fn rust_eh_personality() {}

/// The compiler asks for these by name. Volatile accesses keep it from turning a loop into a call of itself.
///
/// # Safety
/// As C's memcpy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the caller promises `count` bytes at both places.
        unsafe { to.add(index).write_volatile(from.add(index).read()) };
    }
    to
}

/// # Safety
/// As C's memmove.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize) <= (from as usize) {
        // SAFETY: copying upwards reads each byte before it is overwritten.
        return unsafe { memcpy(to, from, count) };
    }
    for index in (0..count).rev() {
        // SAFETY: the caller promises `count` bytes at both places.
        unsafe { to.add(index).write_volatile(from.add(index).read()) };
    }
    to
}

/// # Safety
/// As C's memset.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    for index in 0..count {
        // SAFETY: the caller promises `count` bytes.
        unsafe { to.add(index).write_volatile(value as u8) };
    }
    to
}

/// # Safety
/// As C's memcmp.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: the caller promises `count` bytes at both places.
        let (left, right) = unsafe { (left.add(index).read_volatile(), right.add(index).read_volatile()) };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
    }
    0
}

/// # Safety
/// As C's strlen.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller promises a null at the end.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
