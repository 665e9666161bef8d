//! The messages that Keelson's processes exchange: generated from the files under `proto/`, nothing else.

/// The API server's gRPC door.
pub mod api {
    tonic::include_proto!("keelson.api.v1");
}

/// What a node agent does for the API server.
pub mod node {
    tonic::include_proto!("keelson.node.v1");
}
