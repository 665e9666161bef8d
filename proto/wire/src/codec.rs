//! How messages become bytes: as in [`tonic_prost::ProstCodec`], in buffers of the messages' own size.
//!
//! tonic's buffers are of 8 KiB, two to a call. Most messages are of some hundred bytes: a buffer of that size costs an
//! allocator less, and holds less memory while a part of it is in use.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// The first buffer of a call; one that is too small is replaced by one that fits.
const FIRST: usize = 512;
/// What is ready at once goes out together up to this size. tonic's own threshold.
const TOGETHER: usize = 32 << 10;

/// The codec of all services.
pub struct FittingCodec<Encoded, Decoded>(PhantomData<(Encoded, Decoded)>);

impl<Encoded, Decoded> Default for FittingCodec<Encoded, Decoded> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(FIRST, TOGETHER)
}

impl<Encoded, Decoded> Codec for FittingCodec<Encoded, Decoded>
where
    Encoded: Message + Send + 'static,
    Decoded: Message + Default + Send + 'static,
{
    type Encode = Encoded;
    type Decode = Decoded;
    type Encoder = FittingEncoder<Encoded>;
    type Decoder = ProstDecoder<Decoded>;

    fn encoder(&mut self) -> Self::Encoder {
        FittingEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(settings())
    }
}

/// Makes room for the whole message before it writes it.
pub struct FittingEncoder<Encoded>(PhantomData<Encoded>);

impl<Encoded: Message> Encoder for FittingEncoder<Encoded> {
    type Item = Encoded;
    type Error = Status;

    fn encode(&mut self, message: Encoded, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}
