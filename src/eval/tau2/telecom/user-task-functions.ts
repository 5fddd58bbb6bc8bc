/** What tasks call on the user's side: how the phone and its surroundings begin, and the assertions of grading. */
import { atLeast, noAttribute, strMethodOf } from "../../../python/operators.js";
import { repr, str } from "../../../python/repr.js";
import { equals, PyError, PyTuple, type PyValue, truthy, valueError } from "../../../python/types.js";
import { type ToolFunction, tool } from "../toolkit.js";
import { apnSettings, canSendMms, measureSpeed, mobileDataWorks, searchNetwork } from "./phone.js";
import { type MockPhoneAttributes, NETWORK_STATUSES } from "./user-data-model.js";
import {
  appStatus,
  connectVpn,
  type TelecomUserKit,
  toggleAirplaneMode,
  toggleData,
  toggleDataSaver,
  toggleRoaming,
  toggleWifiCalling,
} from "./user-kit.js";

type Toggle = (kit: TelecomUserKit) => boolean;
type Flag = {
  [K in keyof MockPhoneAttributes]: MockPhoneAttributes[K] extends boolean ? K : never;
}[keyof MockPhoneAttributes];

/** Turned once, and again where that was the wrong way: what else a turn does happens in any case. */
const turn = (toggle: Toggle, on: boolean, text: string) =>
  tool<TelecomUserKit>([], (kit) => {
    if (toggle(kit) !== on) toggle(kit);
    return text;
  });

function lockSim({ db }: TelecomUserKit, mode: PyValue): string {
  if (mode === "pin" || mode === "puk") db.device.sim_card_status = `locked_${mode}`;
  searchNetwork(db);
  return `SIM card locked successfully in ${str(mode)} mode.`;
}

function setWifiCalling(kit: TelecomUserKit, enabled: PyValue, mms: PyValue): string {
  const { device } = kit.db;
  const onOff = (on: PyValue) => (truthy(on) ? "ON" : "OFF");
  if (!equals(device.wifi_calling_enabled, enabled)) toggleWifiCalling(kit);
  if (mms === null) return `Wi-Fi Calling is now ${onOff(enabled)}.`;
  device.wifi_calling_mms_over_wifi = mms;
  return `Wi-Fi Calling is now ${onOff(enabled)}.\nMMS over Wi-Fi is now ${onOff(mms)}.`;
}

function removePermission({ db }: TelecomUserKit, name: PyValue, permission: PyValue): PyValue {
  const app = appStatus(db, name);
  const wanted = strMethodOf(permission, "lower").toLowerCase();
  const answer = (done: boolean, text: string) => PyTuple.from([done, text]) as PyTuple;
  if (app === undefined) return answer(false, `App '${str(name)}' not found. Cannot remove permission.`);
  if (app.permissions.field(wanted) === undefined)
    return answer(false, `Permission '${wanted}' not tracked for app '${str(name)}'.`);
  app.permissions[wanted as "sms"] = false;
  return answer(true, `Permission '${wanted}' removed from app '${str(name)}'.`);
}

function assertSpeed({ db }: TelecomUserKit, least: PyValue, expected: PyValue): boolean {
  const { speed, description } = measureSpeed(db);
  if (!atLeast(speed ?? 0, least)) return false;
  return expected === null || description.toLowerCase() === strMethodOf(expected, "lower").toLowerCase();
}

function assertService({ db }: TelecomUserKit, expected: PyValue): boolean {
  if (!NETWORK_STATUSES.includes(expected as string))
    throw valueError(`${repr(expected)} is not a valid NetworkStatus`);
  return db.device.network_connection_status === expected;
}

const assertFlag = (flag: Flag) =>
  tool<TelecomUserKit>(["expected_status"], ({ db }, expected) => equals(db.device[flag], expected));

/** An `assert` of the original that did not hold. */
function requireState(holds: boolean): void {
  if (!holds) throw new PyError("AssertionError", "");
}

export const userTaskFunctions: Record<string, ToolFunction<TelecomUserKit>> = {
  set_user_info: tool(["name", "phone_number"], ({ db }, name, phone) => {
    db.surroundings.name = name;
    db.surroundings.phone_number = phone;
    return null;
  }),
  set_user_location: tool(["abroad"], ({ db }, abroad) => {
    db.surroundings.is_abroad = abroad;
    return null;
  }),
  simulate_network_search: tool([], ({ db }) => {
    searchNetwork(db);
    return null;
  }),
  turn_airplane_mode_on: turn(toggleAirplaneMode, true, "Airplane Mode is now ON."),
  turn_airplane_mode_off: turn(toggleAirplaneMode, false, "Airplane Mode is now OFF."),
  unseat_sim_card: tool([], ({ db }) => {
    db.device.sim_card_missing = true;
    searchNetwork(db);
    return "SIM card un-seated successfully.";
  }),
  lock_sim_card: tool(["mode"], lockSim),
  turn_data_on: tool([], ({ db }) => {
    db.device.data_enabled = true;
    return "Data connection restored.";
  }),
  turn_data_off: turn(toggleData, false, "Data connection broken."),
  turn_roaming_on: turn(toggleRoaming, true, "Data Roaming is now ON."),
  turn_roaming_off: turn(toggleRoaming, false, "Data Roaming is now OFF."),
  turn_data_saver_mode_on: turn(toggleDataSaver, true, "Data Saver Mode is now ON."),
  turn_data_saver_mode_off: turn(toggleDataSaver, false, "Data Saver Mode is now OFF."),
  break_apn_settings: tool([], ({ db }) => {
    apnSettings(db.device, "apn_name").apn_name = "broken";
    searchNetwork(db);
    return "APN settings broken. Please call reset_apn_settings() to fix.";
  }),
  break_apn_mms_setting: tool([], ({ db }) => {
    apnSettings(db.device, "mmsc_url").mmsc_url = null;
    requireState(!canSendMms(db));
    return "APN MMS setting broken. Please call reset_apn_settings() to fix.";
  }),
  set_wifi_calling: tool(["enabled", { name: "mms_over_wifi", default: null }], setWifiCalling),
  break_vpn: tool([], (kit) => {
    connectVpn(kit);
    const details = kit.db.device.vpn_details;
    if (details === null) throw noAttribute(null, "server_performance");
    details.server_performance = "poor";
    return "VPN connection broken.";
  }),
  remove_app_permission: tool(["app_name", "permission"], removePermission),
  assert_airplane_mode_status: assertFlag("airplane_mode"),
  assert_service_status: tool(["expected_status"], assertService),
  assert_mobile_data_status: tool(["expected_status"], ({ db }, expected) =>
    equals(mobileDataWorks(db), expected),
  ),
  assert_mobile_roaming_status: assertFlag("roaming_enabled"),
  assert_mobile_data_saver_mode_status: assertFlag("data_saver_mode"),
  assert_internet_speed: tool(["expected_speed", { name: "expected_desc", default: null }], assertSpeed),
  assert_internet_not_excellent: tool([], ({ db }) => measureSpeed(db).description !== "Excellent"),
  assert_can_send_mms: tool(["expected_status"], ({ db }, expected) => equals(canSendMms(db), expected)),
  assert_mobile_data_usage_exceeded: tool(["expected_status"], ({ db }, expected) =>
    equals(db.surroundings.mobile_data_usage_exceeded, expected),
  ),
};
