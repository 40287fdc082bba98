//! Datasets of the Hugging Face hub, where the build has the hub and parquet.

#[cfg(not(all(feature = "hub", feature = "parquet")))]
mod absent;
#[cfg(all(feature = "hub", feature = "parquet"))]
mod client;

#[cfg(not(all(feature = "hub", feature = "parquet")))]
pub(crate) use absent::Hub;
#[cfg(all(feature = "hub", feature = "parquet"))]
pub(crate) use client::Hub;
