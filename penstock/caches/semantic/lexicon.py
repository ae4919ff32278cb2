"""English words whose part in a question is known beforehand. Closed lists, hand-written; all in lower case."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _pairs(text: str) -> Mapping[str, frozenset[str]]:
    """``a/b c/d``: each word with the words that are its contrary."""
    found: dict[str, set[str]] = {}
    for pair in text.split():
        first, second = pair.split("/")
        found.setdefault(first, set()).add(second)
        found.setdefault(second, set()).add(first)
    return MappingProxyType({word: frozenset(others) for word, others in found.items()})


def _classes(*texts: str) -> Mapping[str, tuple[tuple[int, str], ...]]:
    """Each word with the classes that it is of and which member: ``a=b`` are two words for one member."""
    found: dict[str, tuple[tuple[int, str], ...]] = {}
    for number, text in enumerate(texts):
        for member in text.split():
            names = member.split("=")
            for word in names:
                found[word] = (*found.get(word, ()), (number, names[0]))
    return MappingProxyType(found)


STOP: Final = _words(
    "a an the is are was were be been being am do does did i you he she it we they my your his her its our their me "
    "him them us of in on at to for from by with as and or but if so that this these those there here can could "
    "will would should may might must shall have has had what which who whom whose when where why how about into "
    "over than then also just any some very more most all one get got make per each every"
)
"""Words that carry no topic."""

QUESTION: Final = MappingProxyType(
    {
        word: word
        for word in [
            "what",
            "which",
            "who",
            "when",
            "where",
            "why",
            "how",
            "is",
            "do",
            "can",
            "should",
            "will",
            "has",
            "have",
        ]
    }
    | {"whom": "who", "whose": "who", "are": "is", "am": "is", "was": "is", "were": "is", "does": "do", "did": "do"}
    | {"could": "can", "would": "will", "has": "have"}
)
"""Words that open a question, each with what it amounts to."""

ASKS_FOR: Final = _words("who when where why")
"""Question words that each ask for another kind of answer."""

HOW: Final = MappingProxyType(
    {
        "many": "how many",
        "much": "how much",
        "long": "how long",
        "old": "how old",
        "far": "how far",
        "tall": "how tall",
    }
    | {"often": "how often", "big": "how big", "fast": "how fast", "heavy": "how heavy", "deep": "how deep"}
    | {"high": "how tall", "large": "how big", "hot": "how hot", "cold": "how hot"}
)
"""What follows ``how`` and then asks for another kind of answer."""

NEGATIONS: Final = _words(
    "not no never without cannot cant dont doesnt isnt wont nothing none nobody neither nor except"
)
"""Words that turn a sentence round; so does every word that ends in ``n't``."""

HALF_NEGATIONS: Final = _words(
    "avoid prevent stop quit unable refuse fail fails failed lack lacking hardly unless skip free less minus "
    "excluding "
    "instead impossible off only"
)
"""Words with which the same can be said as with a negation: ``avoid`` for ``not``."""

NEGATING_PREFIXES: Final = ("un", "in", "im", "il", "ir", "dis", "non", "mis", "anti")
"""What makes ``unsafe`` of ``safe``."""

CONTRARIES: Final = _pairs(
    "cheapest/expensive cheaper/expensive best/bad wives/husbands "
    "before/after above/below over/under up/down upstairs/downstairs left/right north/south east/west "
    "northern/southern eastern/western increase/decrease increase/reduce increase/lower raise/lower raise/reduce "
    "raise/cut rise/fall gain/lose more/less more/fewer most/least many/few max/min maximum/minimum highest/lowest "
    "higher/lower high/low hot/cold warm/cool warmer/cooler hotter/colder heat/cool freeze/thaw freeze/boil "
    "melt/freeze heating/cooling big/small bigger/smaller biggest/smallest large/small larger/smaller "
    "largest/smallest long/short longer/shorter longest/shortest tall/short taller/shorter tallest/shortest "
    "deep/shallow deepest/shallowest thick/thin wide/narrow fast/slow faster/slower fastest/slowest heavy/light "
    "heavier/lighter heaviest/lightest strong/weak stronger/weaker old/new old/young older/younger older/newer "
    "oldest/youngest oldest/newest first/last earliest/latest early/late earlier/later best/worst better/worse "
    "good/bad safe/dangerous cheap/expensive cheaper/dearer cheapest/dearest rich/poor hard/soft hard/easy "
    "difficult/easy hardest/easiest wet/dry open/close open/shut opening/closing opened/closed start/stop start/end "
    "begin/end begin/finish start/finish started/ended started/finished began/ended starts/ends begins/ends "
    "open/closed buy/sell buying/selling bought/sold lend/borrow lending/borrowing import/export imports/exports "
    "enable/disable activate/deactivate install/uninstall install/remove add/remove add/delete create/delete "
    "insert/remove add/subtract multiply/divide lock/unlock mute/unmute block/unblock follow/unfollow zip/unzip "
    "encrypt/decrypt encode/decode compress/extract upload/download push/pull login/logout connect/disconnect "
    "attach/detach show/hide join/leave accept/reject accept/decline approve/reject allow/forbid allow/ban "
    "permit/prohibit legal/illegal win/lose won/lost arrive/depart arrival/departure arrivals/departures "
    "arrive/leave enter/exit entrance/exit inside/outside indoor/outdoor indoors/outdoors internal/external "
    "public/private male/female man/woman men/women boy/girl boys/girls king/queen father/mother dad/mum dad/mom "
    "brother/sister son/daughter uncle/aunt grandfather/grandmother husband/wife input/output send/receive "
    "sent/received give/take ask/answer teach/learn hire/fire employ/dismiss employer/employee landlord/tenant "
    "teacher/student doctor/patient debit/credit asset/liability profit/loss gross/net summer/winter day/night "
    "morning/evening am/pm sunrise/sunset dawn/dusk love/hate alive/dead life/death birth/death born/die born/died "
    "married/divorced marry/divorce full/empty fill/empty true/false yes/no pass/fail passed/failed past/future "
    "front/back forward/backward forwards/backwards top/bottom positive/negative plus/minus odd/even "
    "vertical/horizontal vertically/horizontally rows/columns row/column even/odd single/married raw/cooked "
    "boiled/fried sweet/sour sweet/salty fresh/frozen domestic/international asleep/awake acid/base acidic/alkaline "
    "ancient/modern ascending/descending attack/defend backup/restore save/delete bend/straighten tighten/loosen "
    "thicken/thin wake/sleep pros/cons advantages/disadvantages advantage/disadvantage benefits/drawbacks "
    "benefits/risks vegetarian/meat vegan/meat odds/evens dark/light darken/lighten brighter/dimmer wash/dry "
    "plant/harvest retrieve/submit subscribe/unsubscribe undo/redo sow/harvest charge/discharge inhale/exhale "
    "front/rear minor/major junior/senior upgrade/downgrade inflow/outflow offline/online manual/automatic "
    "symmetric/asymmetric encryption/decryption immigration/emigration immigrate/emigrate"
)
"""Words of which a question takes one: whoever asks for one is not served with the other."""

MEMBERS: Final = _classes(
    "monday=mondays tuesday=tuesdays wednesday=wednesdays thursday=thursdays friday=fridays saturday=saturdays "
    "sunday=sundays weekend=weekends weekday=weekdays",
    "january=jan february=feb march april june july august september=sept october november december",
    "spring summer autumn winter",
    "red blue green yellow orange purple pink brown black white grey=gray gold silver",
    "dog=dogs=puppy=puppies cat=cats=kitten=kittens rabbit=rabbits hamster=hamsters horse=horses=pony "
    "parrot=parrots cow=cows pig=pigs sheep goat=goats goldfish snake=snakes turtle=turtles=tortoise "
    "chicken=chickens duck=ducks lion=lions tiger=tigers elephant=elephants bear=bears wolf=wolves fox=foxes "
    "monkey=monkeys",
    "beef=steak pork chicken lamb turkey salmon tuna shrimp=prawns cod ham bacon tofu",
    "rice pasta=spaghetti potato=potatoes bread pizza egg=eggs bean=beans lentil=lentils quinoa oats=oatmeal "
    "couscous noodle=noodles broccoli carrot=carrots cabbage spinach corn",
    "apple=apples banana=bananas pear=pears grape=grapes mango=mangoes strawberry=strawberries lemon=lemons "
    "lime=limes peach=peaches cherry=cherries pineapple avocado=avocados tomato=tomatoes onion=onions garlic",
    "coffee tea juice milk beer wine vodka whisky=whiskey water",
    "breakfast brunch lunch dinner=supper",
    "mother=mum=mom=mothers father=dad=fathers sister=sisters brother=brothers son=sons daughter=daughters uncle "
    "aunt "
    "grandmother=grandma grandfather=grandpa husband wife",
    "mercury venus earth mars jupiter saturn uranus neptune pluto moon sun",
    "oxygen hydrogen nitrogen carbon helium iron copper zinc aluminium=aluminum lead nickel tin sodium potassium "
    "calcium magnesium uranium chlorine sulphur=sulfur",
    "python java javascript=js ruby php rust golang swift kotlin scala perl typescript haskell matlab c++ c#",
    "windows linux macos=mac=osx ubuntu android ios=iphone=iphones debian fedora chromebook ipad",
    "chrome firefox safari edge opera",
    "gmail outlook yahoo hotmail thunderbird",
    "whatsapp facebook instagram twitter snapchat tiktok telegram linkedin youtube reddit pinterest messenger skype "
    "zoom slack discord",
    "excel word powerpoint photoshop illustrator sheets docs",
    "mysql postgres=postgresql sqlite mongodb oracle redis",
    "english french german spanish italian portuguese dutch russian chinese=mandarin japanese korean arabic hindi "
    "turkish polish greek latin swedish danish norwegian finnish hebrew czech thai vietnamese hungarian",
    "france germany spain italy portugal england=britain=uk scotland ireland wales netherlands=holland belgium "
    "switzerland austria poland greece turkey russia ukraine sweden norway denmark finland iceland china japan "
    "korea india pakistan bangladesh thailand vietnam indonesia malaysia singapore philippines australia canada "
    "mexico brazil argentina chile peru colombia egypt nigeria kenya morocco israel iran iraq hungary romania "
    "bulgaria croatia serbia usa=america cuba nepal ethiopia ghana tanzania uganda",
    "paris london berlin madrid rome lisbon vienna prague budapest warsaw moscow athens istanbul dublin edinburgh "
    "amsterdam brussels zurich geneva munich hamburg milan venice florence naples barcelona seville stockholm oslo "
    "copenhagen helsinki tokyo kyoto osaka beijing shanghai seoul delhi mumbai bangalore chennai sydney melbourne "
    "brisbane toronto vancouver montreal chicago boston seattle miami dallas houston philadelphia denver atlanta "
    "cairo nairobi lagos dubai bangkok manila jakarta",
    "dollar=dollars=usd euro=euros=eur pound_sterling=gbp yen=jpy rupee=rupees=inr franc=francs=chf yuan=cny=rmb "
    "bitcoin=btc ethereum=eth",
    "knee=knees shoulder=shoulders ankle=ankles elbow=elbows wrist=wrists hip=hips neck heart liver kidney=kidneys "
    "lung=lungs brain stomach ear=ears eye=eyes tooth=teeth nose throat",
    "football=soccer basketball tennis baseball cricket hockey rugby golf volleyball badminton",
    "guitar piano violin drums flute trumpet cello saxophone ukulele",
    "diabetes cancer asthma flu=influenza cold measles malaria pneumonia migraine arthritis depression anxiety",
    "cotton wool silk leather linen denim polyester",
    "wood glass plastic steel paper concrete brick",
    "monitor keyboard mouse printer router webcam laptop",
    "pdf docx jpg=jpeg png gif mp3 mp4 wav csv json xml html svg txt epub",
    "knit crochet sew embroider",
    "fry boil bake grill steam roast microwave poach",
    "president governor senator mayor minister",
    "protein fat fibre=fiber sugar carbohydrates=carbs sodium cholesterol caffeine",
    "city country continent state",
    "christmas easter thanksgiving halloween ramadan diwali hanukkah",
    "car=cars motorcycle=motorcycles=motorbike bicycle=bicycles=bike=bikes truck=trucks bus=buses train=trains "
    "plane=planes=airplane boat=boats",
)
"""Words of one class exclude one another: an answer for Monday is none for Tuesday."""

_SYNONYMS = (
    "film movie; child kid; fast quick rapid; big large huge; biggest largest; small little tiny; begin start "
    "commence; end finish stop; buy purchase get; fix repair mend; advantage benefit pro upside; disadvantage "
    "drawback con downside; mean definition meaning define; reason cause; prevent avoid stop; remove delete "
    "erase; photo picture image; mobile phone cellphone smartphone; job career work; best top good great ideal "
    "greatest; bad awful terrible; hard difficult tough; easy simple; method way technique; improve increase "
    "enhance boost better; learn study; choose pick select; create make build produce; happen occur; help aid "
    "assist; need require want; use utilize employ using; cost price; car automobile vehicle; autumn fall; doctor "
    "physician; lawyer attorney; trip journey travel; symptom sign; explain describe clarify; difference "
    "distinction; find locate discover; show display; sick ill; happy glad; smart intelligent clever; wash clean; "
    "cook prepare; talk speak; tell say; allow permit let; know understand; important significant; people person "
    "human; man guy; city town; shop store; live life reside; danger risk hazard; dangerous risky hazardous; safe "
    "secure; put place; see watch view; main major chief; tool equipment; can able; lose shed; possible able; "
    "correct right proper; wrong incorrect; come comes came; go goes went gone; take takes took taken; make makes "
    "made; give gives gave given; write writes wrote written; see saw seen; eat ate eaten; win won; lose lost; "
    "sell sold; build built; teach taught; man men; woman women; foot feet; tooth teeth; mouse mice"
)
SYNONYMS: Final = tuple(frozenset(group.split()) for group in _SYNONYMS.split(";"))
"""Words that can take one another's place in a question."""

UNITS: Final = MappingProxyType(
    {
        word: names.split()[0]
        for names in (
            "km kilometer kilometers kilometre kilometres",
            "m meter meters metre metres",
            "cm centimeter centimeters centimetre centimetres",
            "mm millimeter millimeters millimetre millimetres",
            "mile miles mi",
            "yard yards yd",
            "foot feet ft",
            "inch inches",
            "kg kilogram kilograms kilo kilos",
            "g gram grams",
            "mg milligram milligrams",
            "pound pounds lb lbs",
            "ounce ounces oz",
            "stone stones",
            "ton tons tonne tonnes",
            "l liter liters litre litres",
            "ml milliliter milliliters millilitre millilitres",
            "gallon gallons",
            "pint pints",
            "cup cups",
            "tablespoon tablespoons tbsp",
            "teaspoon teaspoons tsp",
            "celsius centigrade °c",
            "fahrenheit °f",
            "kelvin",
            "second seconds sec secs",
            "minute minutes min mins",
            "hour hours hr hrs",
            "day days",
            "week weeks",
            "month months",
            "year years yr yrs",
            "decade decades",
            "century centuries",
            "percent per-cent %",
            "kb kilobyte kilobytes",
            "mb megabyte megabytes",
            "gb gigabyte gigabytes",
            "tb terabyte terabytes",
            "watt watts w",
            "kw kilowatt kilowatts",
            "volt volts v",
            "calorie calories kcal",
            "joule joules",
            "acre acres",
            "hectare hectares",
            "mph",
            "kph kmh km/h",
            "degree degrees",
        )
        for word in names.split()
    }
)
"""Words of measure, each with its usual name."""

MEASURES: Final = frozenset(UNITS) - _words("second m g l v w min stone stones foot cup")
"""Those that are a measure even without a number before them."""

_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
_TEENS = "seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDER = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
NUMBERS: Final = MappingProxyType(
    {word: value for value, word in enumerate((_ONES + _TEENS).split())}
    | {word: 10 * value for value, word in enumerate(_TENS.split(), 2)}
    | {"dozen": 12, "half": 0.5, "quarter": 0.25, "couple": 2, "twice": 2, "double": 2, "triple": 3, "thrice": 3}
)
"""Number words, but for those that multiply."""

ORDINALS: Final = MappingProxyType({word: value for value, word in enumerate(_ORDER.split(), 1)})
MULTIPLIERS: Final = MappingProxyType({"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9})

LANGUAGES: Final = MappingProxyType(
    {
        "en": _words(
            "the is are what how do does of to and can you i in why for my which was it did should a an from"
        ),
        "de": _words(
            "der die das ist sind wie ich und nicht ein eine was wo warum kann für mit zu auf wer wann man den im"
        ),
        "fr": _words(
            "le la les est sont comment je et pas un une que quel quelle où pourquoi pour dans des du en qui peut"
        ),
        "es": _words(
            "el la los las es son cómo como yo y un una qué que dónde por para cuál de en se puedo cuándo cuánto"
        ),
        "it": _words(
            "il lo la gli è sono come io e non un una che cosa dove perché per quale di in si posso quando quanto"
        ),
        "pt": _words(
            "o os as é são como eu e não um uma que onde por para qual de em se posso quando quanto do da no na"
        ),
        "nl": _words("de het is zijn hoe ik en niet een wat waar waarom kan voor met te op wie wanneer van in mijn"),
        "pl": _words("jak jest czy nie co gdzie dlaczego dla na się w z i do kiedy ile który jaka jaki mogę"),
        "sv": _words("hur är jag och inte en ett vad var varför kan för med till på vem när att det som min"),
        "tr": _words("ne nasıl nedir bir ve için mi mı kaç nerede neden ile kim hangi bu da de var"),
    }
)
"""Words that every sentence of a language is full of."""
