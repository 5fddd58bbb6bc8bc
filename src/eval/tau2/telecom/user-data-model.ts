/** The user's side of the carrier: a phone, and what is around it. */
import {
  bool,
  dictOf,
  enumeration,
  type Fields,
  float,
  int,
  Model,
  make,
  modelOf,
  nullable,
  optionalField,
  str,
} from "../../../python/models.js";
import type { PyDict, PyValue } from "../../../python/types.js";

abstract class Strict extends Model {
  static override extra = "forbid" as const;
}

export type SignalStrength = "none" | "poor" | "fair" | "good" | "excellent";
export type NetworkTechnology = "none" | "2G" | "3G" | "4G" | "5G";
export type NetworkStatus = "connected" | "searching" | "no_service" | "emergency_only";

export const NETWORK_MODES = ["4g_5g_preferred", "4g_only", "3g_only", "2g_only"];
export const NETWORK_STATUSES = ["connected", "searching", "no_service", "emergency_only"];

const signalStrength = enumeration("none", "poor", "fair", "good", "excellent");
const networkTechnology = enumeration("none", "2G", "3G", "4G", "5G");
const text = nullable(str);

export class APNSettings extends Strict {
  declare apn_name: "internet" | "broken";
  declare reset_at_reboot: boolean;
  declare mmsc_url: string | null;
  static override fields: Fields = {
    apn_name: optionalField(enumeration("internet", "broken"), "internet"),
    reset_at_reboot: optionalField(bool, false),
    mms_apn: optionalField(text, "mms"),
    mmsc_url: optionalField(text, "http://mms.carrier.com/mms/wapenc"),
    mms_proxy: optionalField(text),
    mms_port: optionalField(nullable(int)),
  };
}

export class VpnDetails extends Strict {
  declare server_performance: "unknown" | "poor" | "fair" | "good" | "excellent";
  static override fields: Fields = {
    server_address: optionalField(text),
    protocol: optionalField(text),
    server_performance: optionalField(enumeration("unknown", "poor", "fair", "good", "excellent"), "unknown"),
  };
}

export class AppPermissions extends Strict {
  declare sms: boolean;
  declare storage: boolean;
  static override fields: Fields = {
    sms: optionalField(bool, false),
    storage: optionalField(bool, false),
    phone: optionalField(bool, false),
    network: optionalField(bool, false),
  };
}

export class AppStatus extends Strict {
  declare permissions: AppPermissions;
  static override fields: Fields = {
    app_name: str,
    permissions: optionalField(modelOf(AppPermissions), () => make(AppPermissions, {})),
  };
}

const messaging = () => make(AppPermissions, { sms: true, storage: true, phone: true });
const browser = () => make(AppPermissions, { network: true, storage: true });

export class MockPhoneAttributes extends Strict {
  declare sim_card_status: "active" | "missing" | "locked_pin" | "locked_puk";
  declare sim_card_missing: boolean;
  declare airplane_mode: boolean;
  declare network_signal_strength: SignalStrength;
  declare network_technology_connected: NetworkTechnology;
  declare network_connection_status: NetworkStatus;
  declare battery_level: bigint;
  declare data_enabled: boolean;
  declare roaming_enabled: boolean;
  // A tool assigns what it was given where that is no text: these hold anything then.
  declare network_mode_preference: PyValue;
  declare active_apn_settings: PyValue;
  declare wifi_enabled: boolean;
  declare wifi_connected: boolean;
  declare wifi_ssid: string | null;
  declare wifi_signal_strength: SignalStrength;
  declare wifi_calling_enabled: boolean;
  declare wifi_calling_mms_over_wifi: PyValue;
  declare data_saver_mode: boolean;
  declare vpn_enabled_setting: boolean;
  declare vpn_connected: boolean;
  declare vpn_details: VpnDetails | null;
  declare app_statuses: Map<string, AppStatus>;
  static override fields: Fields = {
    sim_card_status: optionalField(enumeration("active", "missing", "locked_pin", "locked_puk"), "active"),
    sim_card_missing: optionalField(bool, false),
    airplane_mode: optionalField(bool, false),
    network_signal_strength: optionalField(signalStrength, "good"),
    network_technology_connected: optionalField(networkTechnology, "5G"),
    network_connection_status: optionalField(enumeration(...NETWORK_STATUSES), "connected"),
    battery_level: optionalField(int, 80n),
    data_enabled: optionalField(bool, true),
    roaming_enabled: optionalField(bool, false),
    network_mode_preference: optionalField(enumeration(...NETWORK_MODES), "4g_5g_preferred"),
    active_apn_settings: optionalField(modelOf(APNSettings), () => make(APNSettings, {})),
    wifi_enabled: optionalField(bool, false),
    wifi_connected: optionalField(bool, false),
    wifi_ssid: optionalField(text),
    wifi_signal_strength: optionalField(signalStrength, "none"),
    wifi_calling_enabled: optionalField(bool, false),
    wifi_calling_mms_over_wifi: optionalField(bool, false),
    data_saver_mode: optionalField(bool, false),
    vpn_enabled_setting: optionalField(bool, false),
    vpn_connected: optionalField(bool, false),
    vpn_details: optionalField(nullable(modelOf(VpnDetails))),
    app_statuses: optionalField(
      dictOf(str, modelOf(AppStatus)),
      () =>
        new Map([
          ["messaging", make(AppStatus, { app_name: "messaging", permissions: messaging() })],
          ["browser", make(AppStatus, { app_name: "browser", permissions: browser() })],
        ]),
    ),
  };
}

export class PaymentRequest extends Strict {
  declare bill_id: string;
  declare amount_due: number;
  declare paid: boolean;
  static override fields: Fields = { bill_id: str, amount_due: float, paid: optionalField(bool, false) };
}

export class UserSurroundings extends Strict {
  // Tasks set these three, unchecked.
  declare name: PyValue;
  declare phone_number: PyValue;
  declare is_abroad: PyValue;
  declare roaming_allowed: boolean;
  declare signal_strength: Map<NetworkTechnology, SignalStrength>;
  declare mobile_data_usage_exceeded: boolean;
  declare line_active: boolean;
  declare payment_request: PaymentRequest | null;
  static override fields: Fields = {
    name: optionalField(text),
    phone_number: optionalField(text),
    is_abroad: optionalField(bool, false),
    roaming_allowed: optionalField(bool, false),
    signal_strength: optionalField(dictOf(networkTechnology, signalStrength), usualSignals),
    mobile_data_usage_exceeded: optionalField(bool, false),
    line_active: optionalField(bool, true),
    payment_request: optionalField(nullable(modelOf(PaymentRequest))),
  };
}

function usualSignals(): PyDict {
  return new Map([
    ["2G", "poor"],
    ["3G", "fair"],
    ["4G", "good"],
    ["5G", "excellent"],
  ]);
}

export class TelecomUserDB extends Strict {
  declare device: MockPhoneAttributes;
  declare surroundings: UserSurroundings;
  static override fields: Fields = {
    device: optionalField(modelOf(MockPhoneAttributes), () => make(MockPhoneAttributes, {})),
    surroundings: optionalField(modelOf(UserSurroundings), () => make(UserSurroundings, {})),
  };
}
