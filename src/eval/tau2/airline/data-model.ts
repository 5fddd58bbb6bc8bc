/** The airline's database: flights with a state for each date, users with what they pay with, reservations. */
import {
  dictOf,
  type Fields,
  float,
  int,
  listOf,
  literal,
  Model,
  modelOf,
  nullable,
  optionalField,
  str,
  unionOf,
} from "../../../python/models.js";
import type { PyValue } from "../../../python/types.js";

export class Name extends Model {
  static override fields: Fields = { first_name: str, last_name: str };
}

export class Address extends Model {
  static override fields: Fields = {
    address1: str,
    address2: optionalField(nullable(str)),
    city: str,
    country: str,
    state: str,
    zip: str,
  };
}

export class Payment extends Model {
  declare payment_id: string;
  declare amount: bigint;
  static override fields: Fields = { payment_id: str, amount: int };
}

export class CreditCard extends Model {
  declare source: "credit_card";
  static override fields: Fields = { source: literal("credit_card"), id: str, brand: str, last_four: str };
}

export class GiftCard extends Model {
  declare source: "gift_card";
  declare amount: number;
  static override fields: Fields = { source: literal("gift_card"), id: str, amount: float };
}

export class Certificate extends Model {
  declare source: "certificate";
  declare amount: number;
  static override fields: Fields = { source: literal("certificate"), id: str, amount: float };
}

export type PaymentMethod = CreditCard | GiftCard | Certificate;

export class Passenger extends Model {
  static override fields: Fields = { first_name: str, last_name: str, dob: str };
}

const cabin = literal("business", "economy", "basic_economy");
const byCabin = dictOf(cabin, int);

export class FlightDateStatusAvailable extends Model {
  declare status: "available";
  declare available_seats: Map<string, bigint>;
  declare prices: Map<string, bigint>;
  static override fields: Fields = {
    status: literal("available"),
    available_seats: byCabin,
    prices: byCabin,
  };
}

export class FlightDateStatusLanded extends Model {
  declare status: "landed";
  static override fields: Fields = {
    status: literal("landed"),
    actual_departure_time_est: str,
    actual_arrival_time_est: str,
  };
}

export class FlightDateStatusCancelled extends Model {
  declare status: "cancelled";
  static override fields: Fields = { status: literal("cancelled") };
}

export class FlightDateStatusDelayed extends Model {
  declare status: "delayed";
  static override fields: Fields = {
    status: literal("delayed"),
    estimated_departure_time_est: str,
    estimated_arrival_time_est: str,
  };
}

export class FlightDataStatusFlying extends Model {
  declare status: "flying";
  static override fields: Fields = {
    status: literal("flying"),
    actual_departure_time_est: str,
    estimated_arrival_time_est: str,
  };
}

export class FlightDataStatusOnTime extends Model {
  declare status: "on time";
  static override fields: Fields = {
    status: literal("on time"),
    estimated_departure_time_est: str,
    estimated_arrival_time_est: str,
  };
}

export type FlightDateStatus =
  | FlightDateStatusAvailable
  | FlightDateStatusLanded
  | FlightDateStatusCancelled
  | FlightDateStatusDelayed
  | FlightDataStatusFlying
  | FlightDataStatusOnTime;

const flightDateStatus = unionOf(
  FlightDateStatusAvailable,
  FlightDateStatusLanded,
  FlightDateStatusCancelled,
  FlightDateStatusDelayed,
  FlightDataStatusFlying,
  FlightDataStatusOnTime,
);

export class Flight extends Model {
  declare flight_number: string;
  declare origin: string;
  declare destination: string;
  declare scheduled_departure_time_est: string;
  declare scheduled_arrival_time_est: string;
  declare dates: Map<string, FlightDateStatus>;
  static override fields: Fields = {
    flight_number: str,
    origin: str,
    destination: str,
    scheduled_departure_time_est: str,
    scheduled_arrival_time_est: str,
    dates: dictOf(str, flightDateStatus),
  };
}

/** A flight on one date, as a search shows it. */
export class DirectFlight extends Model {
  declare destination: string;
  declare scheduled_arrival_time_est: string;
  declare date: string | null;
  static override fields: Fields = {
    flight_number: str,
    origin: str,
    destination: str,
    status: literal("available"),
    scheduled_departure_time_est: str,
    scheduled_arrival_time_est: str,
    date: optionalField(nullable(str)),
    available_seats: byCabin,
    prices: byCabin,
  };
}

export class ReservationFlight extends Model {
  declare flight_number: string;
  declare date: string;
  declare price: bigint;
  static override fields: Fields = {
    flight_number: str,
    origin: str,
    destination: str,
    date: str,
    price: int,
  };
}

export class FlightInfo extends Model {
  static override fields: Fields = { flight_number: str, date: str };
}

export class User extends Model {
  declare payment_methods: Map<string, PaymentMethod>;
  declare reservations: string[];
  static override fields: Fields = {
    user_id: str,
    name: modelOf(Name),
    address: modelOf(Address),
    email: str,
    dob: str,
    payment_methods: dictOf(str, unionOf(CreditCard, GiftCard, Certificate)),
    saved_passengers: listOf(modelOf(Passenger)),
    membership: literal("gold", "silver", "regular"),
    reservations: listOf(str),
  };
}

export class Reservation extends Model {
  declare user_id: string;
  // Updates assign what a call brought, unchecked: these hold anything then.
  declare cabin: PyValue;
  declare flights: ReservationFlight[];
  declare passengers: PyValue;
  declare payment_history: Payment[];
  declare total_baggages: PyValue;
  declare nonfree_baggages: PyValue;
  declare status: "cancelled" | null;
  static override fields: Fields = {
    reservation_id: str,
    user_id: str,
    origin: str,
    destination: str,
    flight_type: literal("round_trip", "one_way"),
    cabin,
    flights: listOf(modelOf(ReservationFlight)),
    passengers: listOf(modelOf(Passenger)),
    payment_history: listOf(modelOf(Payment)),
    created_at: str,
    total_baggages: int,
    nonfree_baggages: int,
    insurance: literal("yes", "no"),
    status: optionalField(nullable(literal("cancelled"))),
  };
}

export class FlightDB extends Model {
  declare flights: Map<string, Flight>;
  declare users: Map<string, User>;
  declare reservations: Map<string, Reservation>;
  static override extra = "forbid" as const;
  static override fields: Fields = {
    flights: dictOf(str, modelOf(Flight)),
    users: dictOf(str, modelOf(User)),
    reservations: dictOf(str, modelOf(Reservation)),
  };
}
