//! The Deployment controller.
mod annotations;
mod plan;
mod read;
mod rollout;
mod scaling;
mod status;
mod strategies;
mod template;

#[cfg(test)]
mod fixtures;
