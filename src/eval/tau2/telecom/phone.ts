/**
 * What a phone does by itself: finding a network, whether data and picture messages work, how fast they are, what its status bar shows.
 *
 * Functions of the user's database; no arguments from outside come here, but `network_mode_preference` and `active_apn_settings` may hold what a tool
 * assigned to them.
 */
import { attribute, noAttribute } from "../../../python/operators.js";
import { round, str } from "../../../python/repr.js";
import { equals, type PyValue, truthy } from "../../../python/types.js";
import {
  APNSettings,
  type MockPhoneAttributes,
  type NetworkTechnology,
  type SignalStrength,
  type TelecomUserDB,
} from "./user-data-model.js";

/** A member of an enumeration as text; what else was assigned has no value. */
export function enumValue(value: PyValue): string {
  if (typeof value !== "string") throw noAttribute(value, "value");
  return value;
}

export function simStatus(device: MockPhoneAttributes): string {
  return device.sim_card_missing ? "missing" : device.sim_card_status;
}

/** The settings, where `field` is to be read or set on them. */
export function apnSettings(device: MockPhoneAttributes, field: string): APNSettings {
  const settings = device.active_apn_settings;
  if (!(settings instanceof APNSettings)) throw noAttribute(settings, field);
  return settings;
}

function connect(device: MockPhoneAttributes, technology: NetworkTechnology, signal: SignalStrength): void {
  device.network_technology_connected = technology;
  device.network_signal_strength = signal;
}

function loseService(device: MockPhoneAttributes): void {
  device.network_connection_status = "no_service";
  connect(device, "none", "none");
}

const TECHNOLOGY_OF_MODE: Record<string, NetworkTechnology> = { "3g_only": "3G", "2g_only": "2G" };

/** Looks for the network again: SIM, then preference, then what forbids all service. */
export function searchNetwork({ device, surroundings }: TelecomUserDB): void {
  const signalOf = (technology: NetworkTechnology) => surroundings.signal_strength.get(technology) ?? "none";
  if (simStatus(device) !== "active") loseService(device);
  else {
    device.network_connection_status = "connected";
    const mode = device.network_mode_preference;
    const preferred = mode === "4g_5g_preferred" && signalOf("5G") !== "none" ? "5G" : undefined;
    const technology = preferred ?? TECHNOLOGY_OF_MODE[typeof mode === "string" ? mode : ""] ?? "4G";
    connect(device, technology, signalOf(technology));
  }
  if (device.airplane_mode) loseService(device);
  if (equals(attribute(device.active_apn_settings, "apn_name"), "broken")) loseService(device);
  if (!surroundings.line_active) loseService(device);
}

export function mobileDataWorks({ device, surroundings }: TelecomUserDB): boolean {
  if (device.airplane_mode || device.network_signal_strength === "none") return false;
  if (device.network_connection_status === "no_service") return false;
  if (truthy(surroundings.is_abroad) && !(device.roaming_enabled && surroundings.roaming_allowed))
    return false;
  return device.data_enabled && !surroundings.mobile_data_usage_exceeded;
}

const SPEED_RANGES: Record<NetworkTechnology, [number, number]> = {
  none: [0, 0],
  "2G": [0.1, 0.4],
  "3G": [1, 5],
  "4G": [10, 100],
  "5G": [50, 500],
};
const SIGNAL_FACTORS: Record<SignalStrength, number> = {
  none: 0,
  poor: 0.2,
  fair: 0.5,
  good: 0.8,
  excellent: 1,
};

/** In Mbit/s; null where there is no connection. */
export function measureSpeed(db: TelecomUserDB): { speed: number | null; description: string } {
  const { device } = db;
  if (!mobileDataWorks(db)) return { speed: null, description: "No Connection" };
  let factor = device.vpn_connected && device.vpn_details?.server_performance === "poor" ? 0.1 : 1;
  if (device.data_saver_mode) factor *= 0.2;
  const [least, most] = SPEED_RANGES[device.network_technology_connected];
  const signal = SIGNAL_FACTORS[device.network_signal_strength];
  const speed = round(((least + most) / 2) * signal * factor, 2);
  const description =
    speed < 1 ? "Very Poor" : speed < 5 ? "Poor" : speed < 25 ? "Fair" : speed < 100 ? "Good" : "Excellent";
  return { speed, description };
}

export function canSendMms(db: TelecomUserDB): boolean {
  const { device } = db;
  if (!mobileDataWorks(db) || device.network_technology_connected === "2G") return false;
  if (device.wifi_calling_enabled && truthy(device.wifi_calling_mms_over_wifi)) return false;
  if (attribute(device.active_apn_settings, "mmsc_url") === null) return false;
  const permissions = device.app_statuses.get("messaging")?.permissions;
  return permissions?.storage === true && permissions.sms;
}

const SIGNAL_SIGNS: Record<SignalStrength, string> = {
  none: "📵 No Signal",
  poor: "📶¹ Poor",
  fair: "📶² Fair",
  good: "📶³ Good",
  excellent: "📶⁴ Excellent",
};

export function statusBar({ device }: TelecomUserDB): string {
  const signs = device.airplane_mode ? ["✈️ Airplane Mode"] : cellularSigns(device);
  if (device.wifi_enabled && device.wifi_connected)
    signs.push(device.wifi_ssid ? `📡 Connected to ${device.wifi_ssid}` : "📡 Enabled");
  if (device.vpn_connected) signs.push("🔒 VPN Connected");
  signs.push(`🔋 ${str(device.battery_level)}%`);
  return signs.join(" | ");
}

function cellularSigns(device: MockPhoneAttributes): string[] {
  const technology = device.network_technology_connected;
  const signs = [SIGNAL_SIGNS[device.network_signal_strength]];
  if (technology !== "none") signs.push(technology);
  if (!device.data_enabled || technology === "none") return [...signs, "📵 Data Disabled"];
  signs.push("📱 Data Enabled");
  if (device.data_saver_mode) signs.push("🔽 Data Saver");
  return signs;
}
