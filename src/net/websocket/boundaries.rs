//! Where frames and messages begin and end in what a client sends (RFC 6455 §5.2).
//!
//! Bounds are judged by headers alone, before any payload has come. Whether the frames are valid otherwise, and what
//! they carry, is not known here: the library sees to that.

/// Longest header: two bytes, eight of a length, four of a mask.
const HEADER: usize = 14;
/// Frames of a message. So a message of the default size may be sent in frames of 256 bytes, and frames without
/// payload come to an end.
const FRAGMENTS: u32 = 1024;

/// Why the rest of the stream is not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// The message is longer than it may be, or is in too many frames.
    TooLong,
    /// A length with the top bit set, which no frame may have.
    Length,
}

/// What was read up to a header that is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Refused {
    pub(super) why: Refusal,
    /// Bytes up to the length that is refused, itself included. No frame ends there, because a mask has to follow.
    pub(super) at: usize,
}

/// Follows a stream of frames.
#[derive(Debug, Default)]
pub(super) struct Boundaries {
    /// The beginning of the current frame's header.
    header: [u8; HEADER],
    /// Bytes of it that have come; 0 between frames and while payload comes.
    header_length: usize,
    /// Payload of the current frame that has yet to come.
    missing: u64,
    /// Bytes of the current frame that have come.
    frame: usize,
    /// Bytes of the current message's earlier frames.
    message: usize,
    /// Bytes of the longest frame so far: a buffer that it was read into may still be as long.
    longest: usize,
    /// Payload that the current message's frames have announced.
    announced: u64,
    fragments: u32,
    is_control: bool,
    is_final: bool,
}

impl Boundaries {
    /// Bytes that have come of a message, or of a frame, that is not complete.
    pub(super) fn unfinished(&self) -> usize {
        self.message + self.frame
    }

    /// Bytes that reading has taken room for, and may not have given back.
    pub(super) fn held(&self) -> usize {
        self.unfinished().max(self.longest)
    }

    /// All buffers have been given back.
    pub(super) fn forget_buffers(&mut self) {
        self.longest = 0;
    }

    /// Takes in what has come next. A message may have `max` bytes.
    ///
    /// # Errors
    ///
    /// At the first header that goes beyond the bounds. What follows cannot be judged.
    pub(super) fn follow(&mut self, bytes: &[u8], max: usize) -> Result<(), Refused> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.missing > 0 {
                let rest = bytes.len() - at;
                let part = usize::try_from(self.missing).map_or(rest, |missing| missing.min(rest));
                self.missing -= part as u64;
                self.frame += part;
                at += part;
            } else {
                self.header[self.header_length] = *byte;
                self.header_length += 1;
                self.frame += 1;
                at += 1;
                if self.header_length == self.length_end() {
                    let judged = self.judge(max);
                    judged.map_err(|why| Refused { why, at })?;
                }
                if self.header_length < self.header_end() {
                    continue;
                }
                self.header_length = 0;
                self.missing = self.payload();
            }
            if self.missing == 0 {
                self.end_frame();
            }
        }
        Ok(())
    }

    /// Where the length ends in the header. Known once two bytes have come.
    fn length_end(&self) -> usize {
        match (self.header_length, self.header[1] & 0x7F) {
            (0 | 1, _) => HEADER,
            (_, 126) => 4,
            (_, 127) => 10,
            _ => 2,
        }
    }

    fn header_end(&self) -> usize {
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        (self.length_end() + mask).min(HEADER)
    }

    /// The length of the payload, once the header has come so far.
    fn payload(&self) -> u64 {
        let [_, length, extended @ ..] = self.header;
        match length & 0x7F {
            126 => u16::from_be_bytes([extended[0], extended[1]]).into(),
            127 => extended[..8]
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
            length => length.into(),
        }
    }

    fn judge(&mut self, max: usize) -> Result<(), Refusal> {
        let payload = self.payload();
        if payload >> 63 != 0 {
            return Err(Refusal::Length);
        }
        let (flags, opcode) = (self.header[0] & 0xF0, self.header[0] & 0x0F);
        self.is_final = flags & 0x80 != 0;
        self.is_control = opcode >= 8;
        if self.is_control {
            return Ok(());
        }
        if opcode != 0 {
            (self.announced, self.fragments) = (0, 0);
        }
        self.announced = self.announced.saturating_add(payload);
        self.fragments += 1;
        let is_within = self.announced <= max as u64 && self.fragments <= FRAGMENTS;
        is_within.then_some(()).ok_or(Refusal::TooLong)
    }

    fn end_frame(&mut self) {
        let frame = std::mem::take(&mut self.frame);
        self.longest = self.longest.max(frame);
        match (self.is_control, self.is_final) {
            (true, _) => {}
            (false, true) => self.message = 0,
            (false, false) => self.message += frame,
        }
    }
}
