//! Devices by name: the one place that knows what a build can compute on.
//!
//! A device is a value of Burn, passed once, where a model is opened; tensors carry it from there. Its name is what a
//! command line takes and what a finding says it was computed on.

use std::fmt;
use std::str::FromStr;

use burn::backend::DispatchDevice;
use burn::tensor::Device;

/// A device by name.
///
/// | name | what | feature |
/// |---|---|---|
/// | `flex` | this machine's CPU, with the kernels of `mmlens-kernels` | `flex` (default) |
/// | `ndarray` | this machine's CPU, through the crate `ndarray` | `ndarray` |
/// | `wgpu`, `wgpu:1` | a GPU through WebGPU: the best there is, or one by its number | `wgpu` |
/// | `remote:ws://HOST:PORT`, `remote:ws://HOST:PORT#1` | the first device another machine serves, or one by its number | `remote` |
///
/// ```
/// use mmlens_core::DeviceName;
/// let name: DeviceName = "remote:ws://gpu.local:3000#1".parse()?;
/// assert_eq!(name, DeviceName::Remote { url: "ws://gpu.local:3000".to_owned(), index: 1 });
/// assert_eq!(name.to_string(), "remote:ws://gpu.local:3000#1");
/// let device = DeviceName::Flex.open(None)?;
/// # let _ = device;
/// # Ok::<(), mmlens_core::DeviceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeviceName {
    /// This machine's CPU.
    #[default]
    Flex,
    /// This machine's CPU, through the crate `ndarray`.
    NdArray,
    /// A GPU through WebGPU, or a software adapter where the system has one.
    Wgpu(Option<usize>),
    /// A device served by another process.
    Remote {
        /// Where it is served: `ws://HOST:PORT`.
        url: String,
        /// Its number among the devices served there.
        index: usize,
    },
}

/// Why a device was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No device is called so.
    #[error(
        "`{found}` is no device; expected one of `flex`, `ndarray`, `wgpu`, `wgpu:INDEX`, `remote:ws://HOST:PORT`"
    )]
    Unknown {
        /// What was given.
        found: String,
    },
    /// A device that this build does not have.
    #[error("`{name}` is not in this build; the feature `{feature}` brings it (this build has {})", built().join(", "))]
    NotBuilt {
        /// The device asked for.
        name: String,
        /// The feature of the crates `mmlens` and `mmlens-cli` that brings it.
        feature: &'static str,
    },
    /// A device that is not there, or refuses.
    #[error("`{name}` cannot be used: {reason}")]
    Unavailable {
        /// The device asked for.
        name: String,
        /// What it says.
        reason: String,
    },
    /// Devices that cannot be served to others.
    #[error("devices cannot be served: {reason}")]
    Served {
        /// What is wrong.
        reason: String,
    },
}

impl DeviceName {
    /// Opens it: finds the adapter, or connects. `token` is what a remote server asks for; other devices ignore it.
    ///
    /// A device served elsewhere is reached over an unencrypted connection: a token keeps strangers from computing
    /// there, not from reading along.
    ///
    /// # Errors
    /// [`DeviceError`] for a device that is not in this build, not there, or refuses the token.
    pub fn open(&self, token: Option<&str>) -> Result<Device, DeviceError> {
        match self {
            Self::Flex => flex(),
            Self::NdArray => ndarray(),
            Self::Wgpu(index) => wgpu(self, *index),
            Self::Remote { url, index } => remote(self, url, *index, token),
        }
    }

    #[cfg(any(feature = "wgpu", feature = "remote"))]
    fn unavailable(&self, reason: impl fmt::Display) -> DeviceError {
        DeviceError::Unavailable { name: self.to_string(), reason: reason.to_string() }
    }

    #[cfg(not(all(feature = "flex", feature = "ndarray", feature = "wgpu", feature = "remote")))]
    fn not_built(&self, feature: &'static str) -> DeviceError {
        DeviceError::NotBuilt { name: self.to_string(), feature }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flex => f.write_str("flex"),
            Self::NdArray => f.write_str("ndarray"),
            Self::Wgpu(None) => f.write_str("wgpu"),
            Self::Wgpu(Some(index)) => write!(f, "wgpu:{index}"),
            Self::Remote { url, index: 0 } => write!(f, "remote:{url}"),
            Self::Remote { url, index } => write!(f, "remote:{url}#{index}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let parsed = match text.split_once(':') {
            None => match text {
                "flex" => Some(Self::Flex),
                "ndarray" => Some(Self::NdArray),
                "wgpu" => Some(Self::Wgpu(None)),
                _ => None,
            },
            Some(("wgpu", index)) => index.parse().ok().map(|index| Self::Wgpu(Some(index))),
            Some(("remote", place)) => served(place),
            Some(_) => None,
        };
        parsed.ok_or_else(|| DeviceError::Unknown { found: text.to_owned() })
    }
}

/// `ws://HOST:PORT`, and the number after `#`.
fn served(place: &str) -> Option<DeviceName> {
    let (url, index) = match place.split_once('#') {
        Some((url, index)) => (url, index.parse().ok()?),
        None => (place, 0),
    };
    let (host, port) = url.strip_prefix("ws://")?.rsplit_once(':')?;
    let reached = !host.is_empty() && !host.contains(['/', '@']) && port.parse::<u16>().is_ok();
    reached.then(|| DeviceName::Remote { url: url.to_owned(), index })
}

/// The kinds of device that this build can open.
pub fn built() -> Vec<&'static str> {
    let all = [
        ("flex", cfg!(feature = "flex")),
        ("ndarray", cfg!(feature = "ndarray")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("remote", cfg!(feature = "remote")),
    ];
    all.into_iter().filter(|(_, built)| *built).map(|(name, _)| name).collect()
}

/// The kind of a device, as a finding names it: `flex`, `ndarray`, `wgpu` or `remote`; of a device that has no name here,
/// what Burn calls it.
pub fn kind(device: &Device) -> String {
    match device.clone().without_autodiff().as_dispatch() {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => "flex".to_owned(),
        #[cfg(feature = "ndarray")]
        DispatchDevice::NdArray(_) => "ndarray".to_owned(),
        #[cfg(feature = "wgpu")]
        DispatchDevice::Cube(burn::backend::CubeDevice::Wgpu(_)) => "wgpu".to_owned(),
        #[cfg(feature = "remote")]
        DispatchDevice::Remote(_) => "remote".to_owned(),
        #[allow(unreachable_patterns, reason = "reached where Burn has backends beside those named above")]
        other => format!("{other:?}"),
    }
}

/// Where values of the host become tensors: `flex` where this build has it, else Burn's choice.
///
/// Not [`Device::default`], which is a GPU as soon as a build has one.
pub fn host() -> Device {
    #[cfg(feature = "flex")]
    return Device::flex();
    #[cfg(not(feature = "flex"))]
    Device::default()
}

/// Serves devices of this machine, all of one kind, to other processes, which open them as `remote:ws://HOST:PORT`; those
/// beside the first by their number in the list. Blocks until the process is told to end (Ctrl+C or SIGTERM), whose
/// signals it takes over.
///
/// Whoever knows the token computes here, and its memory is theirs to fill. The connection is not encrypted: listen on a
/// trusted network, or on loopback behind a tunnel.
///
/// # Errors
/// [`DeviceError::Served`] for an empty token, devices of several kinds or none, or a socket that fails.
#[cfg(feature = "remote-server")]
pub fn serve(
    devices: impl IntoIterator<Item = Device>,
    listener: std::net::TcpListener,
    token: &str,
) -> Result<(), DeviceError> {
    use burn::server::{RemoteServer, TokenAuthorizer, WebSocketTransport};

    let failed = |reason: &dyn fmt::Display| DeviceError::Served { reason: reason.to_string() };
    let authorizer = TokenAuthorizer::new(token).map_err(|error| failed(&error))?;
    RemoteServer::new(devices)
        .with_authorizer(authorizer)
        .serve(WebSocketTransport::from_listener(listener))
        .map_err(|error| failed(&error))
}

#[cfg(feature = "flex")]
fn flex() -> Result<Device, DeviceError> {
    Ok(Device::flex())
}

#[cfg(not(feature = "flex"))]
fn flex() -> Result<Device, DeviceError> {
    Err(DeviceName::Flex.not_built("flex"))
}

#[cfg(feature = "ndarray")]
#[allow(deprecated, reason = "a second CPU backend, kept to compare with for as long as Burn has it")]
fn ndarray() -> Result<Device, DeviceError> {
    Ok(Device::ndarray())
}

#[cfg(not(feature = "ndarray"))]
fn ndarray() -> Result<Device, DeviceError> {
    Err(DeviceName::NdArray.not_built("ndarray"))
}

#[cfg(feature = "wgpu")]
fn wgpu(name: &DeviceName, index: Option<usize>) -> Result<Device, DeviceError> {
    use burn::tensor::wgpu::WgpuInitError;
    use burn::tensor::{DeviceKind, DeviceType};

    match index {
        None => match Device::wgpu_options().init() {
            Ok(device) => Ok(device),
            // Someone opened it before.
            Err(WgpuInitError::Registration { .. }) => Ok(Device::wgpu(DeviceKind::DefaultDevice)),
            Err(error) => Err(name.unavailable(error)),
        },
        Some(index) => {
            let mut listed = Device::enumerate(DeviceType::Wgpu).into_iter();
            let there = listed.len();
            let device = listed.nth(index);
            let device =
                device.ok_or_else(|| name.unavailable(format!("this machine has {there}, from 0")))?;
            // A listed adapter is opened at its first use, and panics if that fails.
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| device.sync())) {
                Ok(Ok(())) => Ok(device),
                Ok(Err(error)) => Err(name.unavailable(format!("{error:?}"))),
                Err(_) => Err(name.unavailable("its driver refuses it")),
            }
        }
    }
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(name: &DeviceName, _: Option<usize>) -> Result<Device, DeviceError> {
    Err(name.not_built("wgpu"))
}

#[cfg(feature = "remote")]
fn remote(name: &DeviceName, url: &str, index: usize, token: Option<&str>) -> Result<Device, DeviceError> {
    let host = burn::remote::RemoteHost::websocket(url);
    let host = match token {
        Some(token) => host.with_credential(token),
        None => host,
    };
    Device::remote_options(&host).device_index(index).init().map_err(|error| name.unavailable(error))
}

#[cfg(not(feature = "remote"))]
fn remote(name: &DeviceName, _: &str, _: usize, _: Option<&str>) -> Result<Device, DeviceError> {
    Err(name.not_built("remote"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let names = ["flex", "ndarray", "wgpu", "wgpu:2", "remote:ws://10.0.0.7:3000", "remote:ws://gpu:1#3"];
        for name in names {
            assert_eq!(name.parse::<DeviceName>().unwrap().to_string(), name);
        }
        let first: DeviceName = "remote:ws://gpu:1#0".parse().unwrap();
        assert_eq!(first.to_string(), "remote:ws://gpu:1");
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "cuda",
            "Flex",
            "flex:0",
            "wgpu:",
            "wgpu:-1",
            "remote",
            "remote:",
            "remote:gpu:3000",
            "remote:ws://gpu",
            "remote:ws://:3000",
            "remote:ws://gpu:port",
            "remote:ws://gpu:99999",
            "remote:ws://gpu:3000#first",
            "remote:ws://token@gpu:3000",
            "remote:wss://gpu:3000",
        ] {
            assert_eq!(name.parse::<DeviceName>(), Err(DeviceError::Unknown { found: name.to_owned() }));
        }
    }

    /// Whatever the build: a kind it has is opened or says what is missing, one it has not names its feature.
    #[test]
    fn a_device_that_is_not_built_names_its_feature() {
        for (name, feature) in
            [("ndarray", "ndarray"), ("wgpu:0", "wgpu"), ("remote:ws://127.0.0.1:9", "remote")]
        {
            let opened = name.parse::<DeviceName>().unwrap().open(None);
            match built().contains(&feature) {
                true => assert!(!matches!(opened, Err(DeviceError::NotBuilt { .. })), "{name}"),
                false => {
                    let error = opened.err().unwrap();
                    assert_eq!(error, DeviceError::NotBuilt { name: name.to_owned(), feature });
                    assert!(error.to_string().contains("this build has flex"), "{error}");
                }
            }
        }
    }

    #[test]
    fn values_of_the_host_are_on_the_cpu() {
        assert_eq!(kind(&host()), "flex");
        assert_eq!(kind(&DeviceName::default().open(None).unwrap().autodiff()), "flex");
    }
}
