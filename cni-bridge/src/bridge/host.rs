//! The host's side: the bridge itself.

use rand::RngCore;

use super::refused;
use crate::netlink::{Link, Netlink};
use crate::protocol::{Error, Request};
use crate::sysctl;

type BridgeConfig = crate::protocol::BridgeConfig;

const DEFAULT_BRIDGE: &str = "cni0";

pub fn bridge_name(config: &BridgeConfig) -> &str {
    if config.name.is_empty() { DEFAULT_BRIDGE } else { &config.name }
}

/// What upstream's plugin can and this one cannot is refused: it would be a hole in somebody's isolation.
pub fn check_config(config: &BridgeConfig) -> Result<(), Error> {
    if config.promisc_mode && config.hairpin_mode {
        return Err(Error::config("cannot set hairpin mode and promiscuous mode at the same time"));
    }
    if config.vlan != 0 || !config.vlan_trunk.is_null() {
        return Err(Error::unsupported_field("vlan and vlanTrunk are not supported"));
    }
    if config.macspoofchk {
        return Err(Error::unsupported_field("macspoofchk is not supported"));
    }
    if config.disable_container_interface && (config.is_gateway || config.is_default_gateway || config.ip_masq) {
        return Err(Error::config("disableContainerInterface cannot be used with isGateway or ipMasq"));
    }
    Ok(())
}

/// Several pods may come at once to a node without a bridge: whoever loses the race takes the winner's.
pub fn ensure_bridge(netlink: &mut Netlink, config: &BridgeConfig) -> Result<Link, Error> {
    let name = bridge_name(config);
    let mut found = netlink.link(name).map_err(refused("looking for the bridge"))?;
    if found.is_none() {
        match netlink.create_bridge(name, random_mac(), config.mtu) {
            Err(failure) if !failure.is(libc::EEXIST) => {
                return Err(Error::netlink(format!("could not add {name:?}: {failure}")));
            }
            _ => {}
        }
        // A router's own bridge takes no advice; where the host has no IPv6 there is nothing to set.
        let _ = sysctl::set(&format!("net/ipv6/conf/{name}/accept_ra"), "0");
        found = netlink.link(name).map_err(refused("looking for the bridge"))?;
    }
    let bridge = found.ok_or_else(|| Error::failed(format!("bridge {name:?} went away")))?;
    if !bridge.is_bridge {
        return Err(Error::failed(format!("{name:?} already exists but is not a bridge")));
    }
    if config.promisc_mode && !bridge.promiscuous {
        netlink.set_promiscuous(bridge.index).map_err(refused("could not set promiscuous mode"))?;
    }
    if !bridge.up {
        netlink.set_up(bridge.index).map_err(refused("bringing the bridge up"))?;
    }
    Ok(bridge)
}

/// Locally administered, unicast.
fn random_mac() -> [u8; 6] {
    let mut mac = [0; 6];
    rand::rng().fill_bytes(&mut mac);
    mac[0] = mac[0] & 0xfc | 0x02;
    mac
}

/// From the runtime's capability, the arguments in the configuration, or CNI_ARGS, in that order.
pub fn requested_mac(request: &Request) -> Result<Option<[u8; 6]>, Error> {
    let text = [
        request.config.runtime_config.mac.as_str(),
        request.config.args.cni.mac.as_str(),
        request.arg("MAC").unwrap_or_default(),
    ]
    .into_iter()
    .find(|text| !text.is_empty());
    let Some(text) = text else { return Ok(None) };
    parse_mac(text).map(Some).ok_or_else(|| Error::config(format!("invalid MAC address {text:?}")))
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_six_bytes() {
        assert_eq!(parse_mac("0a:58:0a:f4:00:02"), Some([0x0a, 0x58, 0x0a, 0xf4, 0, 2]));
        for bad in ["", "0a:58", "0a:58:0a:f4:00:02:03", "zz:58:0a:f4:00:02"] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let table = [
            (BridgeConfig { vlan: 7, ..Default::default() }, 2),
            (BridgeConfig { macspoofchk: true, ..Default::default() }, 2),
            (BridgeConfig { promisc_mode: true, hairpin_mode: true, ..Default::default() }, 7),
        ];
        for (config, code) in table {
            assert_eq!(check_config(&config).expect_err("refused").code, code);
        }
    }
}
