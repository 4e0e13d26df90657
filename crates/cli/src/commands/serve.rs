//! `mmlens serve`: this machine's device for others.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use clap::Args;
use mmlens::core::{DeviceName, device};

use crate::model::token;
use crate::print;
use crate::refusal::Refusal;

/// Serves a device of this machine to other machines, which compute on it with `--device remote:ws://HOST:PORT`.
///
/// MMLENS_DEVICE_TOKEN must hold the same token on both sides. The connection is not encrypted: listen on loopback behind a
/// tunnel, or on a network you trust. Ends with Ctrl+C.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The device: flex, ndarray, wgpu, wgpu:INDEX.
    #[arg(long, value_name = "NAME", default_value_t)]
    device: DeviceName,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
}

impl Serve {
    pub(crate) fn run(&self) -> Result<()> {
        let token = token().ok_or(Refusal::NoToken)?;
        let device = self.device.open(None)?;
        let listener =
            TcpListener::bind(self.listen).with_context(|| format!("cannot listen on {}", self.listen))?;
        print::line(format!("serving {} at remote:ws://{}", self.device, listener.local_addr()?))?;
        Ok(device::serve([device], listener, &token)?)
    }
}
