/**
 * What the user can do on the phone: 30 tools. Each that changes something answers with the status bar after it. Arguments are what a model wrote, unchecked.
 */
import { make } from "../../../python/models.js";
import { strMethodOf } from "../../../python/operators.js";
import { fixed, repr, str } from "../../../python/repr.js";
import type { PyDict, PyValue } from "../../../python/types.js";
import { type ToolFunction, type ToolkitClass, tool } from "../toolkit.js";
import {
  apnSettings,
  canSendMms,
  enumValue,
  measureSpeed,
  searchNetwork,
  simStatus,
  statusBar,
} from "./phone.js";
import {
  APNSettings,
  type AppStatus,
  NETWORK_MODES,
  type TelecomUserDB,
  type VpnDetails,
} from "./user-data-model.js";
import {
  appStatus,
  connectVpn,
  disconnectVpn,
  disconnectWifi,
  type TelecomUserKit,
  toggleAirplaneMode,
  toggleData,
  toggleDataSaver,
  toggleRoaming,
  toggleWifiCalling,
} from "./user-kit.js";
import { userTaskFunctions } from "./user-task-functions.js";

const withStatusBar = (text: string, db: TelecomUserDB) => `${text}\nStatus Bar: ${statusBar(db)}`;
const onOff = (on: boolean) => (on ? "ON" : "OFF");
const yesNo = (yes: boolean) => (yes ? "Yes" : "No");

/** A tool without arguments that only looks. */
const look = (text: (db: TelecomUserDB) => string) => tool<TelecomUserKit>([], ({ db }) => text(db));

/** A tool without arguments that turns something over. */
const toggle = (what: string, turn: (kit: TelecomUserKit) => boolean) =>
  tool<TelecomUserKit>([], (kit) => withStatusBar(`${what} is now ${onOff(turn(kit))}.`, kit.db));

function networkStatus(db: TelecomUserDB): string {
  const { device } = db;
  const lines = [
    `Airplane Mode: ${onOff(device.airplane_mode)}`,
    `SIM Card Status: ${simStatus(device)}`,
    `Cellular Connection: ${device.network_connection_status}`,
    `Cellular Signal: ${device.network_signal_strength}`,
    `Cellular Network Type: ${device.network_technology_connected}`,
    `Mobile Data Enabled: ${yesNo(device.data_enabled)}`,
    `Data Roaming Enabled: ${yesNo(device.roaming_enabled)}`,
    `Wi-Fi Radio: ${onOff(device.wifi_enabled)}`,
    `Wi-Fi Connected: ${yesNo(device.wifi_connected)}`,
  ];
  if (device.wifi_connected) lines.push(`Connected Wi-Fi Network: ${str(device.wifi_ssid)}`);
  return lines.join("\n");
}

/** What is no text is assigned as it is, and fails only where its name is to be shown. */
function setNetworkMode({ db }: TelecomUserKit, mode: PyValue): string {
  const known = typeof mode !== "string" || NETWORK_MODES.includes(mode);
  if (known) {
    db.device.network_mode_preference = mode;
    searchNetwork(db);
  }
  if (known && mode !== null) return withStatusBar(`Preferred Network Mode set to: ${enumValue(mode)}`, db);
  const choices = NETWORK_MODES.join(", ");
  const refusal = `Failed to set network mode: '${str(mode)}' is not a valid option. Please use one of: ${choices}`;
  return withStatusBar(refusal, db);
}

const SPEED_ADVICE: Record<string, string> = {
  "Very Poor": "Connection is very slow. Basic web browsing might be difficult.",
  Poor: "Connection is slow. Web browsing may be sluggish, streaming difficult.",
  Fair: "Connection is okay for web browsing and some standard definition streaming.",
  Good: "Connection is good for most activities, including HD streaming.",
  Excellent: "Connection is very fast.",
};

function speedTest(db: TelecomUserDB): string {
  const { speed, description } = measureSpeed(db);
  if (speed === null) return `Speed test failed: ${description}.`;
  return `Speed Test Result: ${fixed(speed, 2)} Mbps (${description}). ${SPEED_ADVICE[description]}`;
}

const SIM_TEXTS: Record<string, string> = {
  active: "Your SIM card is active and working.",
  missing: "No SIM card detected in the phone.",
  locked_pin: "The SIM card is locked with a PIN code.",
  locked_puk: "The SIM card is locked with a PUK code.",
};

function showApnSettings({ device }: TelecomUserDB): string {
  const { apn_name, mmsc_url } = apnSettings(device, "model_copy");
  const note = "(These are technical settings, usually best left unchanged.)";
  return `Current APN Name: ${apn_name || "Not Set"}\nMMSC URL (for picture messages): ${mmsc_url || "Not Set"}\n${note}`;
}

/** What is no dict is assigned as it is, and fails only where its name is to be shown. */
function setApnSettings({ db }: TelecomUserKit, given: PyValue): string {
  db.device.active_apn_settings = given instanceof Map ? make(APNSettings, given as PyDict) : given;
  const name = apnSettings(db.device, "apn_name").apn_name;
  searchNetwork(db);
  return withStatusBar(`APN settings set to: ${name}`, db);
}

function resetApnSettings({ db }: TelecomUserKit): string {
  apnSettings(db.device, "reset_at_reboot").reset_at_reboot = true;
  searchNetwork(db);
  return withStatusBar("APN settings will reset at reboot.", db);
}

function wifiStatus({ device }: TelecomUserDB): string {
  if (!device.wifi_enabled) return "Wi-Fi is turned OFF.";
  if (!device.wifi_connected) return "Wi-Fi is ON but not connected to any network.";
  return `Wi-Fi is ON and connected to '${str(device.wifi_ssid)}'. Signal strength: ${device.wifi_signal_strength}.`;
}

function toggleWifi({ db }: TelecomUserKit): string {
  const { device } = db;
  if (device.airplane_mode)
    return withStatusBar("Cannot change Wi-Fi settings while Airplane Mode is ON.", db);
  device.wifi_enabled = !device.wifi_enabled;
  if (!device.wifi_enabled) disconnectWifi(db);
  return withStatusBar(`Wi-Fi is now ${onOff(device.wifi_enabled)}.`, db);
}

function vpnStatus({ device }: TelecomUserDB): string {
  if (device.vpn_connected) {
    if (device.vpn_details === null) return "VPN is ON and connected (no specific details available).";
    return `VPN is ON and connected. Details: ${vpnDetailsRepr(device.vpn_details)}`;
  }
  if (device.vpn_enabled_setting) return "VPN is turned ON in settings, but currently not connected.";
  return "VPN is turned OFF.";
}

/** A dict's repr, with the enumeration's member in it. */
function vpnDetailsRepr(details: VpnDetails): string {
  const parts = details.entries().map(([name, value]) => {
    const shown =
      name === "server_performance"
        ? `<PerformanceLevel.${str(value).toUpperCase()}: ${repr(value)}>`
        : repr(value);
    return `${repr(name)}: ${shown}`;
  });
  return `{${parts.join(", ")}}`;
}

const granted = ({ permissions }: AppStatus) =>
  permissions.entries().flatMap(([name, allowed]) => (allowed === true ? [name.replaceAll("_", " ")] : []));

const notFound = (name: PyValue) => `App '${str(name)}' not found on this phone.`;

function checkAppStatus({ db }: TelecomUserKit, name: PyValue): string {
  const app = appStatus(db, name);
  if (app === undefined) return notFound(name);
  const names = granted(app);
  const list =
    names.length === 0
      ? [" - Permissions: None granted."]
      : [" - Permissions Granted:", ...names.map((one) => `   - ${one}`)];
  return [`Status for App: ${str(name)}`, ...list].join("\n");
}

function checkAppPermissions({ db }: TelecomUserKit, name: PyValue): string {
  const app = appStatus(db, name);
  if (app === undefined) return notFound(name);
  const names = granted(app);
  if (names.length === 0) return `App '${str(name)}' currently has no permissions granted.`;
  return `App '${str(name)}' has permission for: ${names.join(", ")}.`;
}

function grantPermission({ db }: TelecomUserKit, name: PyValue, permission: PyValue): string {
  return withStatusBar(grantedOrNot(db, name, permission), db);
}

function grantedOrNot(db: TelecomUserDB, name: PyValue, permission: PyValue): string {
  const app = appStatus(db, name);
  const wanted = strMethodOf(permission, "lower").toLowerCase();
  if (app === undefined) return `Error. App '${str(name)}' not found. Cannot grant permission.`;
  const known = app.permissions.entries().map(([one]) => one);
  if (!known.includes(wanted))
    return `Error. Permission '${wanted}' not tracked for app '${str(name)}', available permissions: ${repr(known)}`;
  app.permissions[wanted as "sms"] = true;
  return `Success. Permission '${wanted}' granted to app '${str(name)}'.`;
}

function reboot({ db }: TelecomUserKit): string {
  const lines: string[] = [];
  if (apnSettings(db.device, "reset_at_reboot").reset_at_reboot) {
    lines.push("Resetting APN settings...");
    db.device.active_apn_settings = make(APNSettings, {});
  }
  lines.push("Restarting network services...");
  db.device.network_connection_status = "searching";
  searchNetwork(db);
  return withStatusBar(lines.join("\n"), db);
}

function paymentRequest({ surroundings }: TelecomUserDB): string {
  const request = surroundings.payment_request;
  if (request === null) return "No payment request has been made.";
  return `You have a payment request for bill ${request.bill_id} of ${str(request.amount_due)} USD.`;
}

function makePayment({ db }: TelecomUserKit): string {
  const request = db.surroundings.payment_request;
  if (request === null) return "You do not have a payment request.";
  request.paid = true;
  return `Payment of ${str(request.amount_due)} USD has been made for bill ${request.bill_id}.`;
}

function reseatSim({ db }: TelecomUserKit): string {
  db.device.sim_card_missing = false;
  searchNetwork(db);
  return withStatusBar("SIM card re-seated successfully.", db);
}

const kTools: Record<string, ToolFunction<TelecomUserKit>> = {
  check_status_bar: look((db) => `Status Bar: ${statusBar(db)}`),
  check_network_status: look(networkStatus),
  check_network_mode_preference: look(
    ({ device }) => `Network Mode Preference: ${enumValue(device.network_mode_preference)}`,
  ),
  set_network_mode_preference: tool(["mode"], setNetworkMode),
  run_speed_test: look(speedTest),
  toggle_airplane_mode: toggle("Airplane Mode", toggleAirplaneMode),
  check_sim_status: look(({ device }) => SIM_TEXTS[simStatus(device)]!),
  reseat_sim_card: tool([], reseatSim),
  toggle_data: toggle("Mobile Data", toggleData),
  toggle_roaming: toggle("Data Roaming", toggleRoaming),
  check_data_restriction_status: look(({ device }) =>
    device.data_saver_mode ? "Data Saver mode is ON (limits data usage)." : "Data Saver mode is OFF.",
  ),
  toggle_data_saver_mode: toggle("Data Saver Mode", toggleDataSaver),
  check_apn_settings: look(showApnSettings),
  set_apn_settings: tool(["apn_settings"], setApnSettings),
  reset_apn_settings: tool([], resetApnSettings),
  check_wifi_status: look(wifiStatus),
  toggle_wifi: tool([], toggleWifi),
  check_wifi_calling_status: look(
    ({ device }) => `Wi-Fi Calling is currently turned ${onOff(device.wifi_calling_enabled)}.`,
  ),
  toggle_wifi_calling: toggle("Wi-Fi Calling", toggleWifiCalling),
  check_vpn_status: look(vpnStatus),
  connect_vpn: tool([], (kit) =>
    connectVpn(kit) ? withStatusBar("VPN connected successfully.", kit.db) : "VPN already connected.",
  ),
  disconnect_vpn: tool([], ({ db }) =>
    withStatusBar(
      disconnectVpn(db) ? "VPN disconnected successfully." : "No active VPN connection to disconnect.",
      db,
    ),
  ),
  check_installed_apps: look(
    ({ device }) =>
      `The following apps are installed on the phone: ${[...device.app_statuses.keys()].join(", ")}`,
  ),
  check_app_status: tool(["app_name"], checkAppStatus),
  check_app_permissions: tool(["app_name"], checkAppPermissions),
  grant_app_permission: tool(["app_name", "permission"], grantPermission),
  can_send_mms: look((db) => `Your messaging app ${canSendMms(db) ? "can" : "cannot"} send MMS messages.`),
  reboot_device: tool([], reboot),
  check_payment_request: look(paymentRequest),
  make_payment: tool([], makePayment),
};

export const telecomUserTools: ToolkitClass<TelecomUserKit> = {
  name: "TelecomUserTools",
  tools: kTools,
  taskFunctions: userTaskFunctions,
};
