/**
 * The airline agent's tools. Arguments are what the agent wrote: each operation that the original does on one has its counterpart in python/operators.
 *
 * Kept on purpose: cancelling frees no seats, changing flights takes none, and an update assigns its arguments unchecked.
 */
import { Model, make } from "../../../python/models.js";
import {
  add,
  atLeast,
  attribute,
  contains,
  deepCopy,
  iterate,
  len,
  lessThan,
  lookUp,
  max,
  multiply,
  negate,
  requireHashable,
  subtract,
  sum,
} from "../../../python/operators.js";
import { str } from "../../../python/repr.js";
import { equals, type PyDict, type PyValue, valueError } from "../../../python/types.js";
import { calculate } from "../calculate.js";
import { type ToolkitClass, tool } from "../toolkit.js";
import {
  Certificate,
  DirectFlight,
  type Flight,
  type FlightDateStatus,
  FlightDateStatusAvailable,
  type FlightDB,
  FlightInfo,
  Passenger,
  Payment,
  type PaymentMethod,
  Reservation,
  ReservationFlight,
  type User,
} from "./data-model.js";

const NOW = "2024-05-15T15:00:00";
const NEW_RESERVATION_IDS = ["HATHAT", "HATHAU", "HATHAV"];
const NEW_CERTIFICATE_IDS = ["certificate_3221322", "certificate_3221323", "certificate_3221324"];

const AIRPORTS = [
  ...[
    "SFO San Francisco",
    "JFK New York",
    "LAX Los Angeles",
    "ORD Chicago",
    "DFW Dallas",
    "DEN Denver",
    "SEA Seattle",
  ],
  ...["ATL Atlanta", "MIA Miami", "BOS Boston", "PHX Phoenix", "IAH Houston", "LAS Las Vegas", "MCO Orlando"],
  ...["EWR Newark", "CLT Charlotte", "MSP Minneapolis", "DTW Detroit", "PHL Philadelphia", "LGA LaGuardia"],
];

class AirportCode extends Model {
  declare iata: string;
  declare city: string;
  static override fields = {
    iata: { read: (input: PyValue) => input },
    city: { read: (input: PyValue) => input },
  };
}

/** A record by id, or the error that names it. */
function record<T extends PyValue>(table: Map<string, T>, id: PyValue, kind: string): T {
  requireHashable(id);
  const found = table.get(id as string);
  if (found === undefined) throw valueError(`${kind} ${str(id)} not found`);
  return found;
}

const getUser = (db: FlightDB, id: PyValue): User => record(db.users, id, "User");
const getReservation = (db: FlightDB, id: PyValue): Reservation => record(db.reservations, id, "Reservation");
const getFlight = (db: FlightDB, number: PyValue): Flight => record(db.flights, number, "Flight");

function flightOnDate(db: FlightDB, number: PyValue, date: PyValue): FlightDateStatus {
  const flight = getFlight(db, number);
  if (!contains(flight.dates, date)) throw valueError(`Flight ${str(number)} not found on date ${str(date)}`);
  return flight.dates.get(date as string)!;
}

/** Only where every item is a dict do they become models; a mixed list stays as it is. */
function asModels(items: PyValue, model: typeof FlightInfo | typeof Passenger | typeof Payment): PyValue {
  const list = iterate(items);
  return list.every((item) => item instanceof Map) ? list.map((item) => make(model, item as PyDict)) : items;
}

interface FlightQuery {
  date: PyValue;
  origin: PyValue;
  destination: PyValue;
  leaveAfter?: PyValue;
}

/** `origin` or `destination` of None is any. */
function searchDirect(
  db: FlightDB,
  { date, origin, destination, leaveAfter = null }: FlightQuery,
): DirectFlight[] {
  const results: DirectFlight[] = [];
  for (const flight of db.flights.values()) {
    if (origin !== null && !equals(flight.origin, origin)) continue;
    if (destination !== null && !equals(flight.destination, destination)) continue;
    if (!contains(flight.dates, date)) continue;
    const status = flight.dates.get(date as string)!;
    if (!(status instanceof FlightDateStatusAvailable)) continue;
    if (leaveAfter !== null && !atLeast(flight.scheduled_departure_time_est, leaveAfter)) continue;
    const { flight_number, scheduled_departure_time_est, scheduled_arrival_time_est } = flight;
    const { available_seats, prices } = status;
    const times = { scheduled_departure_time_est, scheduled_arrival_time_est };
    const route = { flight_number, origin: flight.origin, destination: flight.destination };
    results.push(make(DirectFlight, { ...route, ...times, status: "available", available_seats, prices }));
  }
  return results;
}

/** A flight that arrives on the next day is followed by one of "the day after", written without a leading zero. */
function searchOneStop(db: FlightDB, origin: PyValue, destination: PyValue, date: PyValue): PyValue {
  const results: PyValue[] = [];
  for (const first of searchDirect(db, { date, origin, destination: null })) {
    first.date = date as string;
    const arrival = first.scheduled_arrival_time_est;
    const onward = arrival.includes("+1") ? `2024-05-${Number((date as string).slice(-2)) + 1}` : date;
    for (const second of searchDirect(db, {
      date: onward,
      origin: first.destination,
      destination,
      leaveAfter: arrival,
    })) {
      second.date = onward as string;
      results.push([first, second]);
    }
  }
  return results;
}

/** Seats and price of a cabin on a flight's date, or why it cannot be booked. */
function bookable(
  db: FlightDB,
  info: PyValue,
  cabin: PyValue,
  passengers: bigint,
): [Flight, FlightDateStatusAvailable, bigint] {
  const number = attribute(info, "flight_number");
  const flight = getFlight(db, number);
  const date = attribute(info, "date");
  const status = flightOnDate(db, number, date);
  if (!(status instanceof FlightDateStatusAvailable))
    throw valueError(`Flight ${str(number)} not available on date ${str(date)}`);
  if (lessThan(lookUp(status.available_seats, cabin), passengers))
    throw valueError(`Not enough seats on flight ${str(number)}`);
  return [flight, status, lookUp(status.prices, cabin)];
}

function reservationFlight(flight: Flight, info: PyValue, price: bigint): ReservationFlight {
  const { flight_number, origin, destination } = flight;
  return make(ReservationFlight, {
    flight_number,
    origin,
    destination,
    date: attribute(info, "date"),
    price,
  });
}

/** Takes the price of a change from a gift card; gives the payment to be recorded, if any. */
function payForUpdate(user: User, id: PyValue, price: PyValue): Payment | null {
  if (!contains(user.payment_methods, id)) throw valueError("Payment method not found");
  const method = user.payment_methods.get(id as string)!;
  if (method.source === "certificate") throw valueError("Certificate cannot be used to update reservation");
  if (method.source === "gift_card") {
    if (lessThan(method.amount, price)) throw valueError("Gift card balance is not enough");
    method.amount = subtract(method.amount, price) as number;
  }
  return equals(price, 0n) ? null : make(Payment, { payment_id: id, amount: price });
}

function bookReservation(db: FlightDB, ...values: PyValue[]): PyValue {
  const [userId, origin, destination, flightType, cabin] = values as [
    PyValue,
    PyValue,
    PyValue,
    PyValue,
    PyValue,
  ];
  const [givenFlights, givenPassengers, givenPayments, total, nonfree, insurance] = values.slice(5) as [
    ...[PyValue, PyValue, PyValue, PyValue, PyValue, PyValue],
  ];
  const flights = asModels(givenFlights, FlightInfo);
  const passengers = asModels(givenPassengers, Passenger);
  const payments = asModels(givenPayments, Payment);
  const user = getUser(db, userId);
  const id = NEW_RESERVATION_IDS.find((candidate) => !db.reservations.has(candidate));
  if (id === undefined) throw valueError("Too many reservations");
  const reservation = make(Reservation, {
    ...{
      reservation_id: id,
      user_id: userId,
      origin,
      destination,
      flight_type: flightType,
      cabin,
      flights: [],
    },
    ...{ passengers: deepCopy(passengers), payment_history: deepCopy(payments), created_at: NOW },
    ...{ total_baggages: total, nonfree_baggages: nonfree, insurance },
  });
  const count = len(passengers);
  let price: PyValue = 0n;
  const booked: FlightDateStatusAvailable[] = [];
  for (const info of iterate(flights)) {
    const [flight, status, seatPrice] = bookable(db, info, cabin, count);
    reservation.flights.push(reservationFlight(flight, info, seatPrice));
    booked.push(status);
    price = add(price, seatPrice * count);
  }
  if (equals(insurance, "yes")) price = add(price, 30n * count);
  price = add(price, multiply(50n, nonfree), "+=");
  takePayments(user, iterate(payments), price);
  for (const status of booked)
    status.available_seats.set(cabin as string, status.available_seats.get(cabin as string)! - count);
  db.reservations.set(id, reservation);
  user.reservations.push(id);
  return reservation;
}

/** All are checked before the first is taken. */
function takePayments(user: User, payments: PyValue[], price: PyValue): void {
  const methodOf = (payment: PyValue): [PyValue, PaymentMethod, PyValue] => {
    const [id, amount] = [attribute(payment, "payment_id"), attribute(payment, "amount")];
    if (!contains(user.payment_methods, id)) throw valueError(`Payment method ${str(id)} not found`);
    return [id, user.payment_methods.get(id as string)!, amount];
  };
  for (const payment of payments) {
    const [id, method, amount] = methodOf(payment);
    if (method.source !== "credit_card" && lessThan(method.amount, amount))
      throw valueError(`Not enough balance in payment method ${str(id)}`);
  }
  const paid = sum(payments.map((payment) => attribute(payment, "amount")));
  if (!equals(paid, price))
    throw valueError(`Payment amount does not add up, total price is ${str(price)}, but paid ${str(paid)}`);
  for (const payment of payments) {
    const id = attribute(payment, "payment_id");
    const method = lookUp(user.payment_methods, id);
    if (method.source === "gift_card")
      method.amount = subtract(method.amount, attribute(payment, "amount")) as number;
    else if (method.source === "certificate") user.payment_methods.delete(id as string);
  }
}

function cancelReservation(db: FlightDB, id: PyValue): PyValue {
  const reservation = getReservation(db, id);
  const refunds = reservation.payment_history.map(({ payment_id, amount }) =>
    make(Payment, { payment_id, amount: negate(amount) }),
  );
  reservation.payment_history.push(...refunds);
  reservation.status = "cancelled";
  return reservation;
}

function sendCertificate(db: FlightDB, userId: PyValue, amount: PyValue): PyValue {
  const user = getUser(db, userId);
  const id = NEW_CERTIFICATE_IDS.find((candidate) => !user.payment_methods.has(candidate));
  if (id === undefined) throw valueError("Too many certificates");
  user.payment_methods.set(id, make(Certificate, { id, amount, source: "certificate" }));
  return `Certificate ${id} added to user ${str(userId)} with amount ${str(amount)}.`;
}

function updateBaggages(
  db: FlightDB,
  id: PyValue,
  total: PyValue,
  nonfree: PyValue,
  paymentId: PyValue,
): PyValue {
  const reservation = getReservation(db, id);
  const user = getUser(db, reservation.user_id);
  const more = max(0n, subtract(nonfree, reservation.nonfree_baggages));
  const payment = payForUpdate(user, paymentId, multiply(50n, more));
  if (payment !== null) reservation.payment_history.push(payment);
  reservation.total_baggages = total;
  reservation.nonfree_baggages = nonfree;
  return reservation;
}

function updateFlights(
  db: FlightDB,
  id: PyValue,
  cabin: PyValue,
  given: PyValue,
  paymentId: PyValue,
): PyValue {
  const flights = asModels(given, FlightInfo);
  const reservation = getReservation(db, id);
  const user = getUser(db, reservation.user_id);
  const passengers = len(reservation.passengers);
  const updated = iterate(flights).map(
    (info) => keptFlight(reservation, info, cabin) ?? newFlight(db, info, cabin, passengers),
  );
  const priceOf = (list: ReservationFlight[]) =>
    list.reduce((total, { price }) => total + price, 0n) * passengers;
  const payment = payForUpdate(user, paymentId, priceOf(updated) - priceOf(reservation.flights));
  if (payment !== null) reservation.payment_history.push(payment);
  reservation.flights = updated;
  reservation.cabin = cabin;
  return reservation;
}

/** A flight of the reservation that stays as it is, at its price. */
function keptFlight(reservation: Reservation, info: PyValue, cabin: PyValue): ReservationFlight | undefined {
  return reservation.flights.find(
    (flight) =>
      equals(flight.flight_number, attribute(info, "flight_number")) &&
      equals(flight.date, attribute(info, "date")) &&
      equals(cabin, reservation.cabin),
  );
}

function newFlight(db: FlightDB, info: PyValue, cabin: PyValue, passengers: bigint): ReservationFlight {
  const [flight, , price] = bookable(db, info, cabin, passengers);
  return reservationFlight(flight, info, price);
}

function updatePassengers(db: FlightDB, id: PyValue, given: PyValue): PyValue {
  const passengers = asModels(given, Passenger);
  const reservation = getReservation(db, id);
  if (len(passengers) !== len(reservation.passengers))
    throw valueError("Number of passengers does not match");
  reservation.passengers = deepCopy(passengers);
  return reservation;
}

const kBooking = [
  ...["user_id", "origin", "destination", "flight_type", "cabin", "flights", "passengers", "payment_methods"],
  ...["total_baggages", "nonfree_baggages", "insurance"],
];
const kRoute = ["origin", "destination", "date"];

export const airlineTools: ToolkitClass<FlightDB> = {
  name: "AirlineTools",
  tools: {
    book_reservation: tool(kBooking, bookReservation),
    calculate,
    cancel_reservation: tool(["reservation_id"], cancelReservation),
    get_reservation_details: tool(["reservation_id"], getReservation),
    get_user_details: tool(["user_id"], getUser),
    list_all_airports: tool([], () =>
      AIRPORTS.map((airport) => make(AirportCode, { iata: airport.slice(0, 3), city: airport.slice(4) })),
    ),
    search_direct_flight: tool(kRoute, (db, origin, destination, date) =>
      searchDirect(db, { date, origin, destination }),
    ),
    search_onestop_flight: tool(kRoute, (db, origin, destination, date) =>
      searchOneStop(db, origin, destination, date),
    ),
    send_certificate: tool(["user_id", "amount"], sendCertificate),
    transfer_to_human_agents: tool(["summary"], () => "Transfer successful"),
    update_reservation_baggages: tool(
      ["reservation_id", "total_baggages", "nonfree_baggages", "payment_id"],
      updateBaggages,
    ),
    update_reservation_flights: tool(["reservation_id", "cabin", "flights", "payment_id"], updateFlights),
    update_reservation_passengers: tool(["reservation_id", "passengers"], updatePassengers),
    get_flight_status: tool(
      ["flight_number", "date"],
      (db, number, date) => flightOnDate(db, number, date).status,
    ),
  },
  taskFunctions: {},
};
