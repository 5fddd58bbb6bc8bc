/** What user and tasks work on, and the switches of the phone that both use. Each toggle gives the new state. */
import { make } from "../../../python/models.js";
import { requireHashable } from "../../../python/operators.js";
import type { PyValue } from "../../../python/types.js";
import { searchNetwork } from "./phone.js";
import { type AppStatus, type TelecomUserDB, VpnDetails } from "./user-data-model.js";

export interface TelecomUserKit {
  db: TelecomUserDB;
  /**
   * What every connection of the VPN uses: one object, so that a VPN once made poor stays so for this environment. In the original it
   * belongs to the class and leaks into the tasks that follow in the same process; that is not reproduced.
   */
  vpn: VpnDetails;
}

export function openUserKit(db: TelecomUserDB): TelecomUserKit {
  const address = { server_address: "192.168.1.1", protocol: "OpenVPN" };
  return { db, vpn: make(VpnDetails, { ...address, server_performance: "excellent" }) };
}

export function toggleAirplaneMode({ db }: TelecomUserKit): boolean {
  const { device } = db;
  device.airplane_mode = !device.airplane_mode;
  if (device.airplane_mode || device.wifi_enabled) disconnectWifi(db);
  if (!device.airplane_mode) device.network_connection_status = "searching";
  else disconnectVpn(db);
  searchNetwork(db);
  return device.airplane_mode;
}

export function disconnectWifi({ device }: TelecomUserDB): void {
  device.wifi_connected = false;
  device.wifi_ssid = null;
  device.wifi_signal_strength = "none";
}

export function disconnectVpn({ device }: TelecomUserDB): boolean {
  const wasConnected = device.vpn_connected;
  device.vpn_connected = false;
  if (wasConnected) device.vpn_details = null;
  return wasConnected;
}

export function toggleData({ db }: TelecomUserKit): boolean {
  db.device.data_enabled = !db.device.data_enabled;
  searchNetwork(db);
  return db.device.data_enabled;
}

export function toggleRoaming({ db }: TelecomUserKit): boolean {
  db.device.roaming_enabled = !db.device.roaming_enabled;
  searchNetwork(db);
  return db.device.roaming_enabled;
}

export function toggleDataSaver({ db }: TelecomUserKit): boolean {
  db.device.data_saver_mode = !db.device.data_saver_mode;
  return db.device.data_saver_mode;
}

export function toggleWifiCalling({ db }: TelecomUserKit): boolean {
  db.device.wifi_calling_enabled = !db.device.wifi_calling_enabled;
  return db.device.wifi_calling_enabled;
}

/** False where it is connected already. */
export function connectVpn({ db, vpn }: TelecomUserKit): boolean {
  if (db.device.vpn_connected) return false;
  db.device.vpn_connected = true;
  db.device.vpn_details = vpn;
  return true;
}

export function appStatus(db: TelecomUserDB, name: PyValue): AppStatus | undefined {
  requireHashable(name);
  return db.device.app_statuses.get(name as string);
}
