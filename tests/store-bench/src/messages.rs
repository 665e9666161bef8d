//! Requests, encoded once and stamped with their numbers.

use bytes::{BufMut as _, Bytes, BytesMut};
use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::request_op::Request as Operation;
use prost::Message;

pub const KEYS: u64 = 100_000;
const KEY: &str = "/registry/configmaps/default/object-";
const DIGITS: usize = 10;

pub fn key(number: u64) -> String {
    format!("{KEY}{number:0width$}", width = DIGITS)
}

/// A gRPC message: not compressed, its length, itself.
pub fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.encoded_len());
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).expect("a buffer that grows");
    frame.freeze()
}

/// An encoded request; wherever it names a key, the number is to be written over.
pub struct Template {
    pub path: &'static str,
    frame: Bytes,
    places: Vec<usize>,
}

impl Template {
    fn new(path: &'static str, message: &impl Message) -> Self {
        let frame = framed(message);
        let zero = key(0);
        let is_key = |at: &usize| frame[*at..].starts_with(zero.as_bytes());
        let places = (0..frame.len()).filter(is_key).map(|at| at + KEY.len()).collect();
        Self { path, frame, places }
    }

    pub fn stamped(&self, number: u64) -> Bytes {
        let mut frame = BytesMut::from(&self.frame[..]);
        for place in &self.places {
            let mut rest = number;
            for digit in frame[*place..*place + DIGITS].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        frame.freeze()
    }
}

pub fn put_request(key: String, value: Vec<u8>) -> etcd::PutRequest {
    etcd::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

pub fn put(value: usize) -> Template {
    Template::new("/etcdserverpb.KV/Put", &put_request(key(0), vec![b'v'; value]))
}

pub fn read(serializable: bool) -> Template {
    let request = etcd::RangeRequest { key: key(0).into(), serializable, ..Default::default() };
    Template::new("/etcdserverpb.KV/Range", &request)
}

/// A thousand keys from one on.
pub fn thousand() -> Template {
    // The character after the last '-'.
    let range_end = "/registry/configmaps/default/object.".into();
    let request = etcd::RangeRequest { key: key(0).into(), range_end, limit: 1_000, ..Default::default() };
    Template::new("/etcdserverpb.KV/Range", &request)
}

/// What an API server's create is: put if the key is not there, else read it.
pub fn create(value: usize) -> Template {
    let compare = etcd::Compare {
        result: etcd::compare::CompareResult::Equal as i32,
        target: etcd::compare::CompareTarget::Mod as i32,
        key: key(0).into(),
        target_union: Some(etcd::compare::TargetUnion::ModRevision(0)),
        ..Default::default()
    };
    let operation = |request| etcd::RequestOp { request: Some(request) };
    let range = etcd::RangeRequest { key: key(0).into(), ..Default::default() };
    let request = etcd::TxnRequest {
        compare: vec![compare],
        success: vec![operation(Operation::RequestPut(put_request(key(0), vec![b'v'; value])))],
        failure: vec![operation(Operation::RequestRange(range))],
    };
    Template::new("/etcdserverpb.KV/Txn", &request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_over_every_key() {
        let frame = create(8).stamped(123);
        let request = etcd::TxnRequest::decode(&frame[5..]).expect("a request");
        assert_eq!(request.compare[0].key, key(123));
        let Some(Operation::RequestPut(put)) = &request.success[0].request else { panic!("a put") };
        assert_eq!(put.key, key(123));
        let range = etcd::RangeRequest::decode(&thousand().stamped(5)[5..]).expect("a range");
        assert!(range.key < range.range_end);
    }
}
