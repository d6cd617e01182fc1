"""Words for synthetic speech: those to train on, and those that no training may ever say.

`HELD_OUT_WORDS` are kept for the same/different test over unseen words (ABX). A test checks that
the lists do not touch, not even through a plural or an ending.
"""

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""The ten digits by their value."""

_HELD_OUT = """
apple bottle camera dinner engine forest garden hammer island jacket kitchen lemon market napkin
office pencil quarter rabbit silver table umbrella valley winter yellow blanket candle dragon
elbow feather ginger honey insect jungle kettle ladder mirror needle orange pepper river
shoulder thunder uncle village window machine chicken bridge planet harbour
"""

_TRAINING = """
about above accept across action afraid after again age agree air all allow almost alone along
already also always among amount angry animal answer any appear argue arm army around arrive art
as ask aunt autumn away baby back bad bag bake balance ball banana band bank bar base basket
bath be beach bear beard beat beautiful because become bed bee before begin behind believe bell
belong below belt beside best better between beyond big bike bird birth bite bitter black blame
blood blow blue board boat body bone book boot border born borrow both bother bowl box boy brain
branch brave bread break breath brick bring broad brother brown brush build burn bus business
busy butter button buy by cake call calm can cap captain car card care carry cart case castle
cat catch cause cave ceiling cell centre chain chair chance change charge cheap check cheek
cheese cherry chest chief child choice choose church circle city claim class clean clear clever
climb clock close cloth cloud club coach coal coast coat coffee cold collar colour come common
company complain cook cool copper copy corn corner cost cotton cough could count country couple
courage course court cousin cover cow crack crash cream create crime cross crowd crown cruel cry
cup curtain cut daily damage dance danger dark daughter day dead dear death debt decide deep
deer delay deliver demand depend desert desk destroy detail die difficult dig dirty dish divide
do doctor dog door double doubt down draw dream dress drink drive drop drum dry duck dust duty
each ear early earn earth east easy eat edge education egg either electric else empty end enemy
enjoy enough enter equal escape even evening ever every exact example except excuse expect
explain extra eye face fact fail fair faith fall false family famous far farm fast fat father
fault favour fear feed feel fellow fence few field fight figure fill film final find fine finger
finish fire firm first fish fit fix flag flame flat float floor flour flow flower fly fold
follow food fool foot for force foreign forget forgive fork form forward found free freeze fresh
friend from front fruit full fun funny furniture future game gas gate gather general gentle get
giant gift girl give glad glass go goat gold good goose govern grass great green grey ground
group grow guard guess guest guide gun guy habit hair half hall hand hang happen happy hard hat
hate have he head health hear heart heat heavy height hello help hen here hide high hill hire
history hit hobby hold hole holiday hollow home hope horse hospital host hot hotel hour house
how huge human hundred hunger hunt hurry hurt husband ice idea if ill important in inch industry
ink inside invite iron it itch jam jaw jealous jewel job join joke journey joy judge juice jump
just keep key kick kill kind king kiss kite knee knife knock know labour lady lake lamb lamp
land language large last late laugh law lay lazy lead leaf learn leather leave left leg lend
length less lesson let letter level library lie life lift light like limit line lion lip liquid
list listen little live load loan local lock log lonely long look lorry lose loud love low loyal
luck lunch lung mad magic mail main make male man manage many map march mark marry mass match
mate matter may meal mean measure meat medicine meet melt member memory mend mention message
metal middle might mile milk mill mind minister minute miss mist mistake mix model modern moment
money monkey month moon more morning most mother motor mountain mouse mouth move much mud murder
muscle music must nail name narrow nation nature near neat neck need neighbour nephew nerve nest
net never new news next nice niece night no noble noise none noon north nose not note nothing
notice now number nurse nut oak obey object ocean odd of off offer often oil old on once onion
only open operate opinion opposite or orchard order other ought our out oven over owe own oxygen
page pain paint pair pale pan paper parcel pardon parent park part party pass past path patient
pattern pause pay peace pear pen people perfect perhaps permit person photo pick picture piece
pig pin pink pipe pity place plain plan plant plate play pleasure plenty plough pocket poem poet
point poison polite pool poor popular port position possible post pot potato pound pour powder
power praise pray present press pretty price pride priest prince prison prize problem produce
promise proof proper protect proud prove public pull pump punish pure purple push put queen
question quick quiet race radio rain raise rat rather raw reach read ready real reason receive
record red regular remain remember remove rent repair repeat reply report rest result return
rice rich ride right ring rise road roar rock roll roof room root rope rough round row royal rub
rubber rude rule run rush sad safe sail salt same sand save say scale school science scissors
screen sea search season seat second secret see seed seem sell send sense serious serve set
several sew shade shadow shake shall shame shape share sharp she sheep sheet shelf shell shine
ship shirt shock shoe shoot shop shore short should shout show shower shut sick side sight sign
silence silk simple since sing sink sister sit size skill skin skirt sky sleep slide slip slow
small smell smile smoke smooth snake snow so soap social sock soft soil soldier solid some son
song soon sorry sort soul sound soup sour south space spade speak special speech speed spell
spend spicy spider spin spirit spoon sport spot spread spring square staff stage stair stamp
stand star start state station stay steal steam steel step stick stiff still stomach stone stop
store storm story straight strange straw stream street stretch strike strong student study
stupid subject success such sudden suffer sugar suggest suit summer sun supper support suppose
sure surface surprise sweet swim sword system tail take talk tall tame tap taste tax tea teach
team tear teeth tell temple tent term terrible test than thank that the theatre then there thick
thief thin thing think thirst this thorn though thought thousand thread throat through throw
thumb ticket tidy tie tiger tight time tin tiny tired title to toast today toe together tomato
tomorrow tongue tonight tool tooth top total touch tour towel tower town toy track trade train
travel treasure treat tree tribe trick trip trouble true trunk trust truth try tube tune turn
twice twist type ugly under unit until up upon use usual value van vase verb very victory video
view violin visit voice vote voyage wage waist wait wake walk wall want war warm warn wash waste
watch water wave wax way we weak wealth weapon wear weather wedding weed week weigh welcome well
west wet what wheat wheel when where which while whip whisper whistle white who whole why wide
wife wild will wind wine wing wire wise wish with witness wolf woman wonder wood wool word work
world worm worry worse worth wound wrist write wrong yard year yes yesterday yet you young youth
zebra zone zoo vision garage azure leisure television usually casual beige joyful boil coin
oyster avoid boiling employ loudly mouthful
"""

HELD_OUT_WORDS = tuple(_HELD_OUT.split())
"""Fifty English words that are in no training text."""

TRAINING_WORDS = tuple(_TRAINING.split())
"""Everyday English words, digits excepted, that synthetic training speech is made of."""
