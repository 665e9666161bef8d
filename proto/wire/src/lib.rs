//! The messages that Keelson's processes exchange: generated from the files under `proto/`, and the codec
//! that their services share.

// Comments in .proto files are lists in their own form, which the generator does not indent as rustdoc wants.
#![allow(clippy::doc_lazy_continuation)]

pub mod codec;

/// The API server's gRPC door.
pub mod api {
    tonic::include_proto!("keelson.api.v1");
}

/// What a node agent does for the API server.
pub mod node {
    tonic::include_proto!("keelson.node.v1");
}

/// etcd's v3 API, which raftstore serves.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// The records and events of etcd's v3 API.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

pub use keelson::raft::v1 as raft;
pub use keelson::store::v1 as store;

/// Packages that use etcd's messages: nested as deep as their names, because the generated paths count on it.
mod keelson {
    pub mod store {
        /// raftstore's own door beside etcd's API: many calls over one stream.
        pub mod v1 {
            tonic::include_proto!("keelson.store.v1");
        }
    }

    pub mod raft {
        /// What the members of a raftstore cluster say to each other.
        pub mod v1 {
            tonic::include_proto!("keelson.raft.v1");
        }
    }
}
